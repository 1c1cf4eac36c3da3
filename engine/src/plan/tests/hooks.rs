//! Hooks in plans: that there are some, and an application that a worker can find.

use lagan_schemas::plan::{Application, PlanHooks};

use super::*;

const SERVICE: &str = "    service: {name: mariadb, port: 3307}\n";
const PRE: &str = "  hooks: {preBackup: {tcpSocket: {port: 80}}}\n";

fn backup_with(hooks: &str) -> World {
    with(&[(TASK, hooks)])
}

fn hooks(world: &World) -> PlanHooks {
    backup_work(world.backup()).target.hooks.unwrap()
}

#[test]
fn without_hooks_a_plan_says_nothing_of_them() {
    for nothing in ["", "  hooks: {}\n"] {
        let plan = backup_with(nothing).backup();
        assert_eq!(plan.target().unwrap().hooks, None);
        assert!(!serde_json::to_string(&plan).unwrap().contains("hooks"), "{nothing}");
    }
}

#[test]
fn of_hooks_a_plan_says_only_where_the_application_is() {
    let service = PlanHooks { application: Application::Service { namespace: "demo".into(), name: "mariadb".into() } };
    let task = "  task: {name: mariadb-restore-10.6.23}\n";
    for hook in ["{exec: {command: [sh, CANARY]}}", "{httpPost: {port: 1, path: /CANARY, body: CANARY}}"] {
        for when in ["pre", "post"] {
            let backup = backup_with(&format!("  hooks: {{{when}Backup: {hook}}}\n")).backup();
            let restore = format!("{task}  hooks: {{{when}Restore: {hook}}}\n");
            let restore = with(&[(task, &restore)]).restore();
            for plan in [backup, restore] {
                assert_eq!(plan.target().unwrap().hooks.as_ref(), Some(&service));
                let text = serde_json::to_string(&plan).unwrap();
                assert!(!text.contains("CANARY") && !text.contains("command") && !text.contains("httpPost"), "{text}");
            }
        }
    }
}

#[test]
fn the_application_is_the_service_else_the_host_of_the_url() {
    for (config, application) in [
        (
            "    service: {name: x, namespace: other}\n",
            Application::Service { namespace: "other".into(), name: "x".into() },
        ),
        ("    url: mysql://root:CANARY@db.example.org:3308/\n", Application::Host("db.example.org".into())),
    ] {
        let world = with(&[(TASK, PRE), (SERVICE, config)]);
        assert_eq!(hooks(&world).application, application, "{config}");
        assert!(!serde_json::to_string(&world.backup()).unwrap().contains("CANARY"));
    }
}
