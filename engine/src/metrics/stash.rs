//! Gauges of a session that ended, under Stash's current names (`stash_appscode_com_…`) and its legacy names
//! (`stash_…`), with Stash's labels. It must not push them.

mod names;

use lagan_schemas::fact::TargetResult;
use lagan_schemas::place::StashTerms;
use lagan_schemas::plan::{Plan, PlanTarget};
use lagan_schemas::resource::repository::Backend;
use lagan_schemas::resource::{Group, Kind, ObjectRef, Spec};
use lagan_schemas::session::{Course, Phase, Session};

use self::names::{BACKUP, Name, REPOSITORY, RESTORE};
use super::gauge::{Gauge, Labels};
use crate::view::View;

/// The gauges of a session. A failure has only the gauges `…_success`, as 0.
pub(crate) fn gauges(session: &Session, view: &View) -> Vec<Gauge> {
    let Some(request) = &session.request else { return Vec::new() };
    let mut gauges = GaugeList { list: Vec::new(), session, common: common(session, &request.invoker, view) };
    match session.course() {
        Course::Backup => gauges.backup(view),
        Course::Restore => gauges.restore(view),
        Course::DryRun | Course::Maintenance => {}
    }
    gauges.list
}

struct GaugeList<'a> {
    list: Vec<Gauge>,
    session: &'a Session,
    common: Labels,
}

impl GaugeList<'_> {
    fn add(&mut self, name: &Name, labels: &Labels, value: f64) {
        for gauge_name in [format!("stash_appscode_com_{}", name.current), format!("stash_{}", name.legacy)] {
            self.list.push(Gauge { name: gauge_name, help: name.help, labels: labels.clone(), value });
        }
    }

    fn succeeded(&self) -> bool {
        self.session.phase == Phase::Succeeded
    }

    fn success(&self) -> f64 {
        if self.succeeded() { 1.0 } else { 0.0 }
    }

    fn backup(&mut self, view: &View) {
        let (common, success) = (self.common.clone(), self.success());
        let plan = self.session.plan.as_deref();
        self.add(&BACKUP.success, &common, success);
        if self.succeeded() {
            self.add(&BACKUP.duration, &common, duration_seconds(self.session));
            self.add(&BACKUP.targets, &common, count(plan));
            self.add(&BACKUP.last_success, &common, ended_seconds(self.session));
        }
        if let Some((plan, target)) = plan.and_then(|plan| Some((plan, plan.target()?))) {
            let labels = of_target(&common, target, view);
            self.add(&BACKUP.target_success, &labels, success);
            if self.succeeded() {
                self.add(&BACKUP.target_hosts, &labels, 1.0);
                self.add(&BACKUP.target_last_success, &labels, ended_seconds(self.session));
            }
            self.backup_host(&of_host(labels, plan), target);
        }
        for result in self.session.results.iter().filter(|_| success > 0.0) {
            self.repository(result);
        }
    }

    fn backup_host(&mut self, labels: &Labels, target: &PlanTarget) {
        let session = self.session;
        self.add(&BACKUP.host_success, labels, self.success());
        let result = session.results.iter().find(|result| result.target == target.name);
        let Some(result) = result.filter(|_| self.succeeded()) else { return };
        let seconds = milliseconds(result.duration_ms);
        self.add(&BACKUP.host_duration, labels, seconds);
        self.add(&BACKUP.data_size, labels, float(result.size_bytes));
        self.add(&BACKUP.data_uploaded, labels, float(result.added_bytes));
        // Stash counts whole seconds.
        self.add(&BACKUP.data_processing_time, labels, seconds.floor());
        // The dump is one file, and every backup writes it anew.
        for (name, files) in [
            (&BACKUP.files, 1.0),
            (&BACKUP.files_new, 1.0),
            (&BACKUP.files_modified, 0.0),
            (&BACKUP.files_unmodified, 0.0),
        ] {
            self.add(name, labels, files);
        }
    }

    fn repository(&mut self, result: &TargetResult) {
        let mut planned = self.session.plan.iter().flat_map(|plan| plan.repositories());
        let planned = planned.find(|planned| planned.reference.key() == result.repository.key());
        let backend = planned.map(|planned| &planned.backend);
        let labels = of_repository(&self.common, &result.repository, backend);
        self.add(&REPOSITORY.integrity, &labels, 1.0);
        if let Some(statistics) = result.statistics {
            self.add(&REPOSITORY.size, &labels, float(statistics.size_bytes));
            self.add(&REPOSITORY.snapshots, &labels, float(statistics.snapshots));
        }
        let removed = result.retention.as_ref().filter(|retention| !retention.dry_run).map_or(0, |r| r.removed);
        self.add(&REPOSITORY.cleaned, &labels, float(removed));
    }

    fn restore(&mut self, view: &View) {
        let (common, success) = (self.common.clone(), self.success());
        let plan = self.session.plan.as_deref();
        self.add(&RESTORE.success, &common, success);
        if self.succeeded() {
            self.add(&RESTORE.duration, &common, duration_seconds(self.session));
            self.add(&RESTORE.targets, &common, count(plan));
        }
        if let Some((plan, target)) = plan.and_then(|plan| Some((plan, plan.target()?))) {
            let labels = of_target(&common, target, view);
            self.add(&RESTORE.target_success, &labels, success);
            if self.succeeded() {
                self.add(&RESTORE.target_hosts, &labels, 1.0);
            }
            let labels = of_host(labels, plan);
            self.add(&RESTORE.host_success, &labels, success);
            let result = self.session.results.iter().find(|result| result.target == target.name);
            if let Some(result) = result.filter(|_| self.succeeded()) {
                self.add(&RESTORE.host_duration, &labels, milliseconds(result.duration_ms));
            }
        }
    }
}

fn common(session: &Session, invoker: &ObjectRef, view: &View) -> Labels {
    let planned = session.plan.as_ref().and_then(|plan| plan.repositories().next());
    // A session without a plan has only the names that are written in its invoker.
    let written = || match view.objects.get(&invoker.key()).map(|object| &object.spec) {
        Some(Spec::BackupConfiguration(spec)) => spec.repository.name.clone(),
        Some(Spec::RestoreSession(spec)) => spec.repository.name.clone(),
        _ => String::new(),
    };
    let mut labels = vec![
        ("invoker_kind", invoker.kind.to_string()),
        ("invoker_name", invoker.name.clone()),
        ("namespace", session.key.namespace.clone()),
        ("driver", "Restic".to_owned()),
        ("repository", planned.map_or_else(written, |planned| planned.reference.name.clone())),
    ];
    drop_empty(&mut labels);
    labels
}

fn of_target(common: &Labels, target: &PlanTarget, view: &View) -> Labels {
    let reference = &target.reference;
    let (group, kind) = match reference.kind {
        Kind::AppBinding => match view.objects.get(&reference.key()).map(|object| &object.spec) {
            Some(Spec::AppBinding(spec)) => app_type(spec.kind.as_deref().unwrap_or_default()),
            // The AppBinding is gone, and its type with it.
            _ => (String::new(), String::new()),
        },
        kind => (reference.key_group().as_str().to_owned(), kind.to_string()),
    };
    let mut labels = common.clone();
    labels.extend([("kind", kind), ("group", group), ("name", reference.name.clone())]);
    drop_empty(&mut labels);
    labels
}

/// Group and kind of an AppBinding's `spec.type`: `kubedb.com/mariadb`, or `mariadb` alone.
fn app_type(text: &str) -> (String, String) {
    match text.rsplit_once('/') {
        Some((group, kind)) => (group.to_owned(), kind.to_owned()),
        None if text.is_empty() => (Group::AppCatalog.as_str().to_owned(), "appbindings".to_owned()),
        None => (String::new(), text.to_owned()),
    }
}

fn of_host(mut labels: Labels, plan: &Plan) -> Labels {
    labels.push(("hostname", plan.host().unwrap_or("host-0").to_owned()));
    labels
}

fn of_repository(common: &Labels, repository: &ObjectRef, backend: Option<&Backend>) -> Labels {
    let terms = backend.map(StashTerms::of).unwrap_or_default();
    // Here the label `namespace` is that of the repository.
    let mut labels: Labels = common.iter().filter(|(label, _)| *label != "namespace").cloned().collect();
    labels.extend([
        ("name", repository.name.clone()),
        ("namespace", repository.namespace.clone().unwrap_or_default()),
        ("backend", terms.provider.to_owned()),
        ("bucket", terms.bucket.to_owned()),
        ("prefix", terms.prefix.to_owned()),
    ]);
    drop_empty(&mut labels);
    labels
}

/// Removes empty labels: to Prometheus an empty label and a missing one are the same.
fn drop_empty(labels: &mut Labels) {
    labels.retain(|(_, value)| !value.is_empty());
}

fn count(plan: Option<&Plan>) -> f64 {
    if plan.is_some() { 1.0 } else { 0.0 }
}

/// The time from the request to the end, as Stash counts it.
fn duration_seconds(session: &Session) -> f64 {
    let (first, last) = (session.first_time.unwrap_or_default(), session.last_time.unwrap_or_default());
    last.duration_since(first).as_secs_f64().max(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
fn ended_seconds(session: &Session) -> f64 {
    session.last_time.unwrap_or_default().as_second() as f64
}

fn milliseconds(milliseconds: u64) -> f64 {
    float(milliseconds) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows floats only")]
fn float(number: u64) -> f64 {
    number as f64
}
