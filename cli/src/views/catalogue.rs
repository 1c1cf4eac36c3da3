//! Rows of BackupBlueprints, Tasks, Functions and AppBindings.

use serde_json::Value;

use super::{Cells, Columns, TableStyle};
use crate::objects::ObjectDocument;

pub(super) const TASK: Columns = Columns { narrow: &["STEPS", "SOURCE"], wide: &["GROUP"], cells: task };
pub(super) const FUNCTION: Columns =
    Columns { narrow: &["DATABASE", "ACTION", "PROGRAM", "SOURCE"], wide: &["GROUP"], cells: function };
pub(super) const APP_BINDING: Columns = Columns {
    narrow: &["TYPE", "VERSION", "ADDRESS", "SECRET"],
    wide: &["BACKUP TASK", "RESTORE TASK"],
    cells: app_binding,
};

pub(super) const BLUEPRINT: Columns =
    Columns { narrow: &["TASK", "SCHEDULE", "USAGES"], wide: &["GROUP"], cells: blueprint };

fn blueprint(_: &TableStyle, view: &ObjectDocument) -> Cells {
    let usages = view.number("/status/usages").map(|count| count.to_string()).unwrap_or_default();
    Cells {
        narrow: vec![view.text("/spec/task/name").to_owned(), view.text("/spec/schedule").to_owned(), usages],
        wide: vec![view.key.group.clone()],
        note: String::new(),
    }
}

fn source(view: &ObjectDocument) -> String {
    if view.is_built_in() { "built-in".to_owned() } else { "manifest".to_owned() }
}

fn task(_: &TableStyle, view: &ObjectDocument) -> Cells {
    let steps = view.value.pointer("/spec/steps").and_then(Value::as_array);
    let names: Vec<_> = steps.into_iter().flatten().filter_map(|step| step["name"].as_str()).collect();
    Cells { narrow: vec![names.join(", "), source(view)], wide: vec![view.key.group.clone()], note: String::new() }
}

fn function(_: &TableStyle, view: &ObjectDocument) -> Cells {
    let action = match (view.text("/spec/stream/stdout"), view.text("/spec/stream/stdin")) {
        ("", "") => String::new(),
        (_, "") => "backup".to_owned(),
        _ => "restore".to_owned(),
    };
    let program = match view.text("/spec/command/0") {
        "" => view.text("/spec/image"),
        program => program,
    };
    Cells {
        narrow: vec![view.text("/spec/database").to_owned(), action, program.to_owned(), source(view)],
        wide: vec![view.key.group.clone()],
        note: String::new(),
    }
}

/// The address of an AppBinding's database.
pub fn address(view: &ObjectDocument) -> String {
    let service = view.text("/spec/clientConfig/service/name");
    if service.is_empty() {
        return view.text("/spec/clientConfig/url").to_owned();
    }
    let port = view.number("/spec/clientConfig/service/port").map(|port| format!(":{port}")).unwrap_or_default();
    let namespace = match view.text("/spec/clientConfig/service/namespace") {
        "" => view.key.namespace.as_deref().unwrap_or_default(),
        namespace => namespace,
    };
    format!("{service}.{namespace}.svc{port}")
}

fn app_binding(_: &TableStyle, view: &ObjectDocument) -> Cells {
    let addon = |action: &str| view.text(&format!("/spec/parameters/stash/addon/{action}/name")).to_owned();
    Cells {
        narrow: vec![
            view.text("/spec/type").to_owned(),
            view.text("/spec/version").to_owned(),
            address(view),
            view.text("/spec/secret/name").to_owned(),
        ],
        wide: vec![addon("backupTask"), addon("restoreTask")],
        note: String::new(),
    }
}
