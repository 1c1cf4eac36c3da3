//! A group of a Pushgateway: the gauges that one push replaces, and that are deleted with their object.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lagan_schemas::resource::{Group, Kind};
use lagan_schemas::subject::ObjectKey;
use url::Url;

/// A job, named as Stash does: `<invoker kind>-<namespace>-<name>`. Two API groups may have one such name, so the metrics of
/// every group but Stash's have a second grouping label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PushJob {
    name: String,
    /// `None` for Stash's group.
    invoker_group: Option<String>,
}

impl PushJob {
    /// `None` for kinds that are not invokers.
    pub fn of(key: &ObjectKey) -> Option<Self> {
        let kind = match key.kind {
            Kind::BackupConfiguration => "backupconfiguration",
            Kind::RestoreSession => "restoresession",
            _ => return None,
        };
        let name = format!("{kind}-{}-{}", key.namespace.as_deref().unwrap_or_default(), key.name);
        let invoker_group = (key.group != Group::Stash.as_str()).then(|| key.group.clone());
        Some(Self { name, invoker_group })
    }

    /// `<gateway>/metrics/job/<job>`, and `/invoker_group/<group>` behind it. A job with a slash is only accepted in base64.
    pub fn url(&self, gateway: &Url) -> Url {
        let mut url = gateway.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("metrics");
            if self.name.contains('/') {
                path.push("job@base64").push(&URL_SAFE_NO_PAD.encode(&self.name));
            } else {
                path.push("job").push(&self.name);
            }
            if let Some(group) = &self.invoker_group {
                path.push("invoker_group").push(group);
            }
        }
        url
    }
}

impl fmt::Display for PushJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.invoker_group.as_ref().map_or(Ok(()), |group| write!(f, " of {group}"))
    }
}
