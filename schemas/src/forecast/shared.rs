//! The things that scheduled backups share, and a forecast for each.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Forecast, ForecastEntry, ForecastOverlap, forecast};
use crate::manifest;
use crate::place::{Place, Volumes};
use crate::resource::app_binding::{AppBindingSpec, DatabaseUrl};
use crate::resource::backup_configuration::{BackupConfigurationSpec, ConcurrencyPolicy};
use crate::resource::{Kind, Object, Spec};
use crate::subject::ObjectKey;

/// Annotation of an AppBinding: the number of sessions that may use its database server at a time.
pub const MAX_CONCURRENT_ANNOTATION: &str = "lagan.dev/max-concurrent";

/// Numbers of sessions at a time where no object sets one. Zero means no limit.
#[derive(Debug, Clone, Copy)]
pub struct ForecastLimits {
    pub server: u32,
    pub repository: u32,
}

/// A thing that backups share, of which only so many use it at a time.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedThing {
    /// `AppBinding`, `database server` or `repository`.
    pub kind: &'static str,
    pub name: String,
    pub limit: u32,
    /// The configurations that use it, by namespace and name.
    pub configurations: Vec<String>,
    /// The number of those that never succeeded, so that nobody knows how long they take.
    pub unmeasured: usize,
    /// `None` if no session has to wait for it.
    pub forecast: Option<Forecast>,
    pub fits: bool,
}

/// One thing, with its limit and the backups that use it.
#[derive(Default)]
struct Users {
    limit: u32,
    names: Vec<String>,
    entries: Vec<ForecastEntry>,
}

/// Computes a forecast for each thing that scheduled backups share. Configurations that are paused or not valid do not count.
/// `took` is how long the last backup of each configuration took.
#[must_use]
pub fn shared_things<'a>(
    objects: impl Iterator<Item = &'a Object> + Clone,
    took: &HashMap<ObjectKey, Duration>,
    limits: ForecastLimits,
    now: Timestamp,
) -> Vec<SharedThing> {
    let named = objects.clone().filter(|object| matches!(object.kind(), Kind::AppBinding | Kind::Repository));
    let named: HashMap<_, _> = named.map(|object| (name_of(object), object)).collect();
    let mut things: BTreeMap<(&'static str, String), Users> = BTreeMap::new();
    for object in objects {
        let Spec::BackupConfiguration(spec) = &object.spec else { continue };
        let Some(entry) = entry(object, spec, took.get(&object.key()).copied()) else { continue };
        for (thing, limit) in uses(object, spec, &named, limits) {
            let users = things.entry(thing).or_default();
            users.limit = if users.names.is_empty() { limit } else { users.limit.min(limit) };
            users.names.push(entry.name.clone());
            users.entries.extend((!entry.took.is_zero()).then(|| entry.clone()));
        }
    }
    things.into_iter().map(|((kind, name), users)| shared(kind, name, users, now)).collect()
}

fn shared(kind: &'static str, name: String, Users { limit, names, entries }: Users, now: Timestamp) -> SharedThing {
    let unmeasured = names.len() - entries.len();
    let forecast = forecast(limit, &entries, now);
    let fits = forecast.as_ref().is_none_or(Forecast::fits);
    SharedThing { kind, name, limit, configurations: names, unmeasured, forecast, fits }
}

type NameOfObject<'a> = (Kind, &'a str, &'a str);

fn name_of(object: &Object) -> NameOfObject<'_> {
    (object.kind(), object.metadata.namespace.as_deref().unwrap_or_default(), object.metadata.name.as_str())
}

/// A backup whose duration is not known takes no time, and is not counted.
fn entry(object: &Object, spec: &BackupConfigurationSpec, took: Option<Duration>) -> Option<ForecastEntry> {
    if spec.paused {
        return None;
    }
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let overlap = match spec.concurrency_policy.unwrap_or(ConcurrencyPolicy::Forbid) {
        ConcurrencyPolicy::Allow => ForecastOverlap::Allowed,
        ConcurrencyPolicy::Forbid => ForecastOverlap::Skips,
    };
    Some(ForecastEntry {
        name: format!("{namespace}/{}", object.metadata.name),
        schedule: manifest::schedule(spec, object.metadata.uid.unwrap_or_default()).ok()?,
        took: took.unwrap_or_default(),
        time_out: spec.time_out.map(Duration::from),
        overlap,
    })
}

/// Everything that the backups of a configuration use, with the limit.
fn uses(
    object: &Object,
    spec: &BackupConfigurationSpec,
    named: &HashMap<NameOfObject<'_>, &Object>,
    limits: ForecastLimits,
) -> Vec<((&'static str, String), u32)> {
    let own = object.metadata.namespace.as_deref().unwrap_or_default();
    let mut uses = Vec::new();
    if let Some(target) = spec.target.as_ref().and_then(|target| target.reference.as_ref()) {
        let namespace = target.namespace.as_deref().unwrap_or(own);
        uses.push((("AppBinding", format!("{namespace}/{}", target.name)), 1));
        let binding = named.get(&(Kind::AppBinding, namespace, target.name.as_str()));
        if let Some((binding, Spec::AppBinding(spec))) = binding.map(|binding| (binding, &binding.spec))
            && let Some(server) = server(spec, namespace)
        {
            let annotation = binding.metadata.annotations.get(MAX_CONCURRENT_ANNOTATION);
            let limit = annotation.and_then(|text| text.parse().ok()).unwrap_or(limits.server);
            uses.push((("database server", server), limit));
        }
    }
    let namespace = spec.repository.namespace.as_deref().unwrap_or(own);
    let repository = named.get(&(Kind::Repository, namespace, spec.repository.name.as_str()));
    if let Some(Spec::Repository(spec)) = repository.map(|repository| &repository.spec)
        && let Some(place) = Place::of(&spec.backend, Volumes::Mounted)
    {
        let limit = spec.max_concurrent.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(limits.repository);
        uses.push((("repository", place.to_string()), limit));
    }
    uses
}

/// The address of a database server. A port that is not written is the default of its kind, and left out.
fn server(spec: &AppBindingSpec, namespace: &str) -> Option<String> {
    let with_port = |host: &str, port: Option<String>| {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", host.to_ascii_lowercase())
    };
    if let Some(service) = &spec.client_config.service {
        let namespace = service.namespace.as_deref().unwrap_or(namespace);
        let port = (service.port > 0).then(|| service.port.to_string());
        return Some(with_port(&format!("{}.{namespace}.svc", service.name), port));
    }
    let url = DatabaseUrl::parse(spec.client_config.url.as_deref()?).ok()?;
    Some(with_port(&url.host, url.port.map(|port| port.to_string())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, name: &str, annotations: &Value, spec: &Value) -> Object {
        let group = if kind == "AppBinding" { "appcatalog.appscode.com" } else { "lagan.dev" };
        let metadata = json!({"name": name, "namespace": "prod", "annotations": annotations});
        let value =
            json!({"apiVersion": format!("{group}/v1alpha1"), "kind": kind, "metadata": metadata, "spec": spec});
        Object::from_json(value).unwrap()
    }

    /// Databases of one server, whose backups are due at two o'clock.
    fn databases(number: usize, annotation: Option<&str>) -> Vec<Object> {
        let backend = json!({"backend": {"storageSecretName": "s", "local": {"mountPath": "/backups"}}});
        let mut objects = vec![object("Repository", "main", &json!({}), &backend)];
        let annotations = annotation.map_or(json!({}), |limit| json!({ MAX_CONCURRENT_ANNOTATION: limit }));
        for index in 0..number {
            let name = format!("db-{index}");
            let url = json!({"type": "mariadb", "clientConfig": {"url": "mysql://Server-1:3306/"}});
            objects.push(object("AppBinding", &name, &annotations, &url));
            let spec = json!({
                "schedule": "0 2 * * *", "repository": {"name": "main"}, "timeOut": "2h",
                "retentionPolicy": {"name": "keep", "keepLast": 1},
                "target": {"ref": {"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "name": name}},
            });
            objects.push(object("BackupConfiguration", &name, &json!({}), &spec));
        }
        objects
    }

    fn things(objects: &[Object], measured: usize) -> Vec<SharedThing> {
        let backups = objects.iter().filter(|object| object.kind() == Kind::BackupConfiguration);
        let took = backups.take(measured).map(|object| (object.key(), Duration::from_secs(14 * 60))).collect();
        let limits = ForecastLimits { server: 8, repository: 16 };
        shared_things(objects.iter(), &took, limits, "2026-11-26T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_server_whose_limit_is_too_small_is_found_among_what_its_backups_share() {
        let found = things(&databases(12, Some("1")), 12);
        let unfit: Vec<&SharedThing> = found.iter().filter(|thing| !thing.fits).collect();
        assert_eq!(unfit.len(), 1, "twelve fit into the limit of the repository");
        let server = unfit[0];
        assert_eq!((server.kind, server.name.as_str(), server.limit), ("database server", "server-1:3306", 1));
        assert_eq!(server.forecast.as_ref().unwrap().timed_out, ["prod/db-8", "prod/db-9", "prod/db-10", "prod/db-11"]);
        let found = things(&databases(12, None), 12);
        assert!(found.iter().all(|thing| thing.fits));
    }

    #[test]
    fn what_never_succeeded_is_not_counted_but_told_and_what_is_paused_is_left_out() {
        let mut objects = databases(3, None);
        if let Spec::BackupConfiguration(spec) = &mut objects.last_mut().unwrap().spec {
            spec.paused = true;
        }
        let found = things(&objects, 1);
        let numbers = |kind: &str| {
            let of_kind = found.iter().filter(|thing| thing.kind == kind);
            of_kind.map(|thing| (thing.configurations.len(), thing.unmeasured)).collect::<Vec<_>>()
        };
        assert_eq!((numbers("database server"), numbers("repository")), (vec![(2, 1)], vec![(2, 1)]));
        assert_eq!(numbers("AppBinding"), [(1, 0), (1, 1)]);
    }
}
