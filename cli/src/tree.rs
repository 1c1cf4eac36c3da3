//! Draws an object and the objects that belong to it as a tree. It must not read a clock or print.

use jiff::Timestamp;
use lagan_schemas::resource::backup_configuration::BackupConfigurationStatus;
use lagan_schemas::resource::backup_session::RunStatus;
use lagan_schemas::resource::repository::RepositoryStatus;
use lagan_schemas::resource::{Condition, ConditionStatus, Kind};
use serde_json::{Value, json};

use crate::cron;
use crate::glyph::Glyphs;
use crate::human::{bytes, one_line, relative};
use crate::objects::{ObjectDocument, find, select};
use crate::views::address;

/// Number of sessions below a configuration; `lagan get sessions` lists all.
const SESSIONS: usize = 3;
const NOTE_LIMIT: usize = 100;

#[derive(Debug)]
pub struct Node<'a> {
    /// Kind, namespace and name: `Repository/prod/main`.
    name: String,
    /// A word that has a glyph, or an empty text.
    state: &'a str,
    detail: String,
    /// `None` if the object is named but does not exist.
    view: Option<&'a ObjectDocument>,
    children: Vec<Node<'a>>,
}

/// The objects from which trees are made.
#[derive(Clone, Copy)]
pub struct Forest<'a> {
    pub views: &'a [ObjectDocument],
    pub now: Timestamp,
}

impl<'a> Forest<'a> {
    /// A configuration, its database, its repository and its newest sessions.
    #[must_use]
    pub fn of_configuration(self, view: &'a ObjectDocument) -> Node<'a> {
        let mut node = self.configuration(view);
        node.children.push(self.named(view, Kind::AppBinding, "/spec/target/ref", app_binding));
        node.children.push(self.named(view, Kind::Repository, "/spec/repository", |view| self.repository(view)));
        let mut sessions = select(self.views, Kind::BackupSession, view.key.namespace.as_deref());
        sessions.retain(|session| session.text("/spec/invoker/name") == view.key.name);
        sessions.truncate(SESSIONS);
        node.children.extend(sessions.into_iter().map(|session| self.session(session)));
        node
    }

    /// A repository and the configurations that write into it.
    #[must_use]
    pub fn of_repository(self, view: &'a ObjectDocument) -> Node<'a> {
        let mut node = self.repository(view);
        let mut users = select(self.views, Kind::BackupConfiguration, None);
        users.retain(|user| {
            let namespace = match user.text("/spec/repository/namespace") {
                "" => user.key.namespace.as_deref(),
                namespace => Some(namespace),
            };
            user.text("/spec/repository/name") == view.key.name && namespace == view.key.namespace.as_deref()
        });
        node.children = users.into_iter().map(|user| self.configuration(user)).collect();
        node
    }

    fn named(
        self,
        of: &'a ObjectDocument,
        kind: Kind,
        place: &str,
        node: impl Fn(&'a ObjectDocument) -> Node<'a>,
    ) -> Node<'a> {
        let namespace = match of.text(&format!("{place}/namespace")) {
            "" => of.key.namespace.as_deref(),
            namespace => Some(namespace),
        };
        let name = of.text(&format!("{place}/name"));
        let found = find(&select(self.views, kind, namespace), name);
        // Both API groups may have an object of this name: the group of the one that refers to it counts.
        let same = found.iter().find(|view| view.key.group == of.key.group).or(found.first());
        same.map_or_else(
            || Node {
                name: format!("{kind}/{}/{name}", namespace.unwrap_or_default()),
                state: "Missing",
                detail: "not found".to_owned(),
                view: None,
                children: Vec::new(),
            },
            |view| node(view),
        )
    }

    fn configuration(self, view: &'a ObjectDocument) -> Node<'a> {
        let status: BackupConfigurationStatus = view.part("status");
        let is_paused = view.value.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
        let mut details = vec![cron::words(view.text("/spec/schedule"), view.text("/spec/timeZone"))];
        match (is_paused, status.next_slot_time) {
            (true, _) => details.push("paused".to_owned()),
            (false, Some(next)) => details.push(format!("next {}", relative(next, self.now))),
            (false, None) => {}
        }
        let state = if is_paused && view.phase() == "Ready" { "Paused" } else { view.phase() };
        if matches!(state, "NotReady" | "Invalid") {
            details.extend(first_false(&status.conditions));
        }
        leaf(view, state, details)
    }

    fn repository(self, view: &'a ObjectDocument) -> Node<'a> {
        let status: RepositoryStatus = view.part("status");
        let ready = status.conditions.iter().find(|condition| condition.kind == "Ready").map(|ready| ready.status);
        let state = match (status.integrity, ready) {
            (Some(false), _) => "Failed",
            (_, Some(ConditionStatus::True)) => "Ready",
            (_, Some(ConditionStatus::False)) => "NotReady",
            (_, Some(ConditionStatus::Unknown)) => "Unknown",
            (_, None) => "",
        };
        let mut details = Vec::new();
        details.extend(status.snapshot_count.map(|count| match count {
            1 => "1 snapshot".to_owned(),
            count => format!("{count} snapshots"),
        }));
        details.extend(status.total_size_bytes.map(bytes));
        details.extend(status.last_check_time.map(|time| format!("checked {}", relative(time, self.now))));
        match state {
            "Failed" => details.push("the last read-back found damage".to_owned()),
            "NotReady" => details.extend(first_false(&status.conditions)),
            _ => {}
        }
        if details.is_empty() {
            details.push("no backup yet".to_owned());
        }
        leaf(view, state, details)
    }

    fn session(self, view: &'a ObjectDocument) -> Node<'a> {
        let run: RunStatus = view.part("status");
        let time = run.completion_time.or(run.start_time).or_else(|| view.created());
        let mut details: Vec<String> = time.map(|time| relative(time, self.now)).into_iter().collect();
        details.extend(run.snapshot.map(|snapshot| format!("snapshot {snapshot}")));
        details.extend(run.added_bytes.map(|added| format!("{} new", bytes(added))));
        if let (Some(message), false) = (&run.message, view.phase() == "Succeeded") {
            let code = run.code.map(|code| format!(" ({code})")).unwrap_or_default();
            details.push(one_line(message, NOTE_LIMIT) + &code);
        }
        leaf(view, view.phase(), details)
    }
}

/// An AppBinding is shown as found only: whether its database answers is unknown until a session connects to it.
fn app_binding(view: &ObjectDocument) -> Node<'_> {
    let version = [view.text("/spec/type"), view.text("/spec/version")].join(" ");
    let details = [version.trim().to_owned(), address(view)].into_iter().filter(|text| !text.is_empty());
    leaf(view, "Found", details.collect())
}

fn leaf<'a>(view: &'a ObjectDocument, state: &'a str, details: Vec<String>) -> Node<'a> {
    Node { name: view.key.to_string(), state, detail: details.join(", "), view: Some(view), children: Vec::new() }
}

fn first_false(conditions: &[Condition]) -> Option<String> {
    let wrong = conditions.iter().find(|condition| condition.status == ConditionStatus::False)?;
    Some(one_line(&wrong.message, NOTE_LIMIT))
}

/// Names, states and details in columns.
#[must_use]
pub fn render(root: &Node<'_>, glyphs: Glyphs) -> String {
    let mut lines = Vec::new();
    branch(root, ["", ""], glyphs, &mut lines);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let (name, state) = (width(0), width(1));
    lines
        .iter()
        .map(|[first, second, third]| format!("{first:<name$}  {second:<state$}  {third}").trim_end().to_owned() + "\n")
        .collect()
}

/// Appends the lines of a node. `own` precedes the node itself, `below` everything under it.
fn branch(node: &Node<'_>, [own, below]: [&str; 2], glyphs: Glyphs, lines: &mut Vec<[String; 3]>) {
    lines.push([format!("{own}{}", node.name), glyphs.phase(node.state), node.detail.clone()]);
    let (middle, last, through) = match glyphs {
        Glyphs::Unicode => ("├── ", "└── ", "│   "),
        Glyphs::Ascii => ("|-- ", "`-- ", "|   "),
    };
    for (index, child) in node.children.iter().enumerate() {
        let is_last = index + 1 == node.children.len();
        let (own, next) = if is_last { (last, "    ") } else { (middle, through) };
        branch(child, [&format!("{below}{own}"), &format!("{below}{next}")], glyphs, lines);
    }
}

/// The tree as a document in which each object holds its children.
#[must_use]
pub fn document(node: &Node<'_>) -> Value {
    let children: Vec<Value> = node.children.iter().map(document).collect();
    json!({
        "name": node.name,
        "state": if node.state.is_empty() { "Unknown" } else { node.state },
        "detail": node.detail,
        "object": node.view.map(|view| &view.value),
        "children": children,
    })
}

/// One line `kind/name` for every object that exists.
#[must_use]
pub fn names(node: &Node<'_>) -> String {
    let own = node.view.map(|view| crate::output::name(view.key.kind, &view.key.name) + "\n").unwrap_or_default();
    node.children.iter().fold(own, |text, child| text + &names(child))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::objects::tests::view;

    fn views() -> Vec<ObjectDocument> {
        let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-11-22T11:00:00Z"});
        let session = |name: &str, time: &str, status: Value| {
            view(json!({
                "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupSession",
                "metadata": {"name": name, "namespace": "prod", "creationTimestamp": time},
                "spec": {"invoker": {"kind": "BackupConfiguration", "name": "shop"}}, "status": status,
            }))
        };
        vec![
            view(json!({
                "apiVersion": "lagan.dev/v1alpha1", "kind": "BackupConfiguration",
                "metadata": {"name": "shop", "namespace": "prod"},
                "spec": {"schedule": "0 2 * * *", "timeZone": "Europe/Berlin", "repository": {"name": "main", "namespace": "storage"},
                    "target": {"ref": {"kind": "AppBinding", "name": "shop-db"}}},
                "status": {"phase": "Ready", "nextSlotTime": "2026-11-22T18:30:00Z"},
            })),
            view(json!({
                "apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding",
                "metadata": {"name": "shop-db", "namespace": "prod"},
                "spec": {"type": "mariadb", "version": "11.4.5", "clientConfig": {"service": {"name": "db", "port": 3306}}},
            })),
            view(json!({
                "apiVersion": "lagan.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "main", "namespace": "storage"},
                "status": {"snapshotCount": 212, "totalSizeBytes": 51_647_016_960_u64, "integrity": true,
                    "lastCheckTime": "2026-11-19T12:00:00Z", "conditions": [condition("Ready", "True", "m")]},
            })),
            session("shop-1", "2026-11-21T11:00:00Z", json!({"phase": "Failed", "code": "E0201", "message": "mariadb-dump\nexited 2",
                "completionTime": "2026-11-21T12:00:00Z"})),
            session("shop-2", "2026-11-22T11:00:00Z", json!({"phase": "Succeeded", "snapshot": "4be1c0de", "addedBytes": 1024,
                "completionTime": "2026-11-22T11:57:00Z"})),
            session("other-1", "2026-11-22T11:30:00Z", Value::Null),
        ]
        .into_iter()
        .map(|mut view| {
            if view.key.name == "other-1" {
                view.value["spec"]["invoker"]["name"] = "other".into();
            }
            view
        })
        .collect()
    }

    fn forest(views: &[ObjectDocument]) -> Forest<'_> {
        Forest { views, now: "2026-11-22T12:00:00Z".parse().unwrap() }
    }

    #[test]
    fn a_configuration_is_above_its_database_repository_and_sessions() {
        let views = views();
        let tree = forest(&views).of_configuration(&views[0]);
        assert_eq!(
            render(&tree, Glyphs::Unicode),
            "\
BackupConfiguration/prod/shop  ✔ Ready      every day 02:00 Europe/Berlin, next in 6h
├── AppBinding/prod/shop-db    ✔ Found      mariadb 11.4.5, db.prod.svc:3306
├── Repository/storage/main    ✔ Ready      212 snapshots, 48.10 GiB, checked 3d ago
├── BackupSession/prod/shop-2  ✔ Succeeded  3m ago, snapshot 4be1c0de, 1 KiB new
└── BackupSession/prod/shop-1  ✖ Failed     1d ago, mariadb-dump exited 2 (E0201)
"
        );
        assert_eq!(names(&tree).lines().nth(2), Some("repository/main"));
        let document = document(&tree);
        assert_eq!(document["children"][1]["object"]["metadata"]["namespace"], "storage");
        assert_eq!(document["children"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn missing_and_paused_objects_are_marked() {
        let mut views = views();
        views.retain(|view| !matches!(view.key.kind, Kind::AppBinding | Kind::BackupSession));
        views[0].value["spec"]["paused"] = true.into();
        views[1].value["status"] = Value::Null;
        let text = render(&forest(&views).of_configuration(&views[0]), Glyphs::Ascii);
        assert_eq!(
            text,
            "\
BackupConfiguration/prod/shop  -- Paused   every day 02:00 Europe/Berlin, paused
|-- AppBinding/prod/shop-db    XX Missing  not found
`-- Repository/storage/main    -           no backup yet
"
        );
    }

    #[test]
    fn a_repository_is_above_the_configurations_that_write_into_it() {
        let views = views();
        let text = render(&forest(&views).of_repository(&views[2]), Glyphs::Unicode);
        assert_eq!(
            text,
            "\
Repository/storage/main            ✔ Ready  212 snapshots, 48.10 GiB, checked 3d ago
└── BackupConfiguration/prod/shop  ✔ Ready  every day 02:00 Europe/Berlin, next in 6h
"
        );
    }
}
