//! Lists the fields without effect of an invoker and of the objects that it names, for the condition `FieldIgnored`.
//! It must not refuse anything: our group refuses such fields when an object is read.

use lagan_schemas::fact::{Notice, NoticeStatus};
use lagan_schemas::resource::backup_configuration::{TargetRef, TaskRef};
use lagan_schemas::resource::fields::{FIELD_IGNORED, reason};
use lagan_schemas::resource::{Group, Kind, NamespacedName, Object, Spec};

use super::find::FoundObject;
use super::task::{Direction, TaskContext, ignored_param};
use crate::view::View;

/// Reason of the condition.
pub(crate) const REASON: &str = "FieldsWithoutEffect";

/// The message about the fields of one object; `None` if all of them have an effect.
pub(crate) fn of_object(object: &Object) -> Option<String> {
    let (group, kind) = (object.group(), object.kind());
    let field = |path: &String| format!("{path} ({})", reason(group, kind, path));
    let fields: Vec<String> = object.ignored_fields.iter().map(field).collect();
    let path = object.reference().path();
    (!fields.is_empty()).then(|| format!("{kind} {path}: {}", fields.join(", ")))
}

/// The message about the fields of an invoker, its Repository, its AppBinding, its Task and the Functions of this Task.
pub(crate) fn of_invoker(view: &View, invoker: &Object) -> Option<String> {
    let param = param(view, invoker).map(|param| format!("{} {}: {param}", invoker.kind(), invoker.reference().path()));
    let objects = std::iter::once(invoker).chain(named_by(view, invoker));
    let messages: Vec<String> = objects.filter_map(of_object).chain(param).collect();
    (!messages.is_empty()).then(|| messages.join("; "))
}

/// The parameter of the invoker's Task that has no effect. Its name is a value, so no list of fields has it.
fn param(view: &View, invoker: &Object) -> Option<String> {
    let (target, task, direction) = match &invoker.spec {
        Spec::BackupConfiguration(spec) => (spec.target.as_ref()?.reference.as_ref()?, &spec.task, Direction::Backup),
        Spec::RestoreSession(spec) => (spec.target.as_ref()?.reference.as_ref()?, &spec.task, Direction::Restore),
        _ => return None,
    };
    let object = binding(view, invoker, target)?;
    let Spec::AppBinding(spec) = &object.spec else { return None };
    let given = TaskContext { invoker, task: task.as_ref(), binding: FoundObject { object, spec: spec.as_ref() } };
    ignored_param(view, given, direction)
}

/// The condition on a session, for invokers whose status is that of a session.
pub(super) fn notice(view: &View, invoker: &Object) -> Option<Notice> {
    let message = of_invoker(view, invoker)?;
    let (kind, reason) = (FIELD_IGNORED.to_owned(), REASON.to_owned());
    Some(Notice { kind, status: NoticeStatus::True, reason, message })
}

pub(super) fn named_by<'a>(view: &'a View, invoker: &'a Object) -> Vec<&'a Object> {
    let (repository, target, task) = match &invoker.spec {
        Spec::BackupConfiguration(spec) => {
            (&spec.repository, spec.target.as_ref().and_then(|t| t.reference.as_ref()), spec.task.as_ref())
        }
        Spec::RestoreSession(spec) => {
            (&spec.repository, spec.target.as_ref().and_then(|t| t.reference.as_ref()), spec.task.as_ref())
        }
        _ => return Vec::new(),
    };
    let binding = target.and_then(|target| binding(view, invoker, target));
    let mut named: Vec<&Object> = self::repository(view, invoker, repository).into_iter().chain(binding).collect();
    let task = task.or_else(|| addon_task(binding?, invoker.kind())).and_then(|task| self::task(view, invoker, task));
    if let Some(Spec::Task(spec)) = task.map(|task| &task.spec) {
        let function = |name: &String| view.find(Kind::Function, invoker.group(), None, name).map(|object| &**object);
        named.extend(task);
        named.extend(spec.steps.iter().filter_map(|step| function(&step.name)));
    }
    named
}

fn own_namespace(invoker: &Object) -> &str {
    invoker.metadata.namespace.as_deref().unwrap_or_default()
}

fn repository<'a>(view: &'a View, invoker: &Object, named: &NamespacedName) -> Option<&'a Object> {
    let namespace = named.namespace.as_deref();
    let namespace = namespace.unwrap_or_else(|| own_namespace(invoker));
    view.find(Kind::Repository, invoker.group(), Some(namespace), &named.name).map(|object| &**object)
}

fn binding<'a>(view: &'a View, invoker: &Object, target: &TargetRef) -> Option<&'a Object> {
    let namespace = target.namespace.as_deref().unwrap_or_else(|| own_namespace(invoker));
    view.find(Kind::AppBinding, Group::AppCatalog, Some(namespace), &target.name).map(|object| &**object)
}

fn addon_task(binding: &Object, invoker: Kind) -> Option<&TaskRef> {
    let Spec::AppBinding(spec) = &binding.spec else { return None };
    let addon = &spec.parameters.as_ref()?.stash.as_ref()?.addon;
    if invoker == Kind::RestoreSession { addon.restore_task.as_ref() } else { addon.backup_task.as_ref() }
}

fn task<'a>(view: &'a View, invoker: &Object, named: &TaskRef) -> Option<&'a Object> {
    view.find(Kind::Task, invoker.group(), None, &named.name).map(|object| &**object)
}
