//! Hooks in plans: one action each, for an application that a worker can find.

use lagan_schemas::plan::{Application, HookAction, PlanHooks};
use lagan_schemas::resource::hooks::{BackupHooks, ExecutionPolicy, Port};
use serde_json::json;

use super::super::hooks::of_backup;
use super::*;

const SERVICE: &str = "    service: {name: mariadb, port: 3307}\n";
const PRE: &str = "  hooks: {preBackup: {tcpSocket: {port: 80}}}\n";

fn backup_with(hooks: &str) -> World {
    with(&[(TASK, hooks)])
}

fn hooks(world: &World) -> PlanHooks {
    world.backup().targets.remove(0).hooks.unwrap()
}

#[test]
fn without_hooks_a_plan_says_nothing_of_them() {
    for nothing in ["", "  hooks: {}\n"] {
        let plan = backup_with(nothing).backup();
        assert_eq!(plan.targets[0].hooks, None);
        assert!(!serde_json::to_string(&plan).unwrap().contains("hooks"), "{nothing}");
    }
}

#[test]
fn hooks_of_a_backup_come_with_their_policy_and_the_service_to_find_pods_through() {
    let world = backup_with(
        "  hooks:
    preBackup: {exec: {command: [sh, -c, 'echo {{ .Name }}']}, containerName: mariadb}
    postBackup: {httpPost: {port: hook, path: /done, body: '{{ .Status.Phase }}'}, executionPolicy: OnFinalRetryFailure}\n",
    );
    let hooks = hooks(&world);
    assert_eq!(hooks.application, Application::Service { namespace: "demo".into(), name: "mariadb".into() });
    let pre = hooks.pre.unwrap();
    assert!(matches!(&pre.action, HookAction::Exec(exec) if exec.command.len() == 3), "{pre:?}");
    assert_eq!(pre.container.as_deref(), Some("mariadb"));
    let post = hooks.post.unwrap();
    assert_eq!(post.policy, ExecutionPolicy::OnFinalRetryFailure);
    assert!(matches!(&post.hook.action, HookAction::HttpPost(post) if post.port == Port::Name("hook".into())));
}

#[test]
fn hooks_of_a_restore_are_in_its_plan() {
    let task = "  task: {name: mariadb-restore-10.6.23}\n";
    let own =
        format!("{task}  hooks: {{preRestore: {{tcpSocket: {{port: 80}}}}, postRestore: {{httpGet: {{port: 1}}}}}}\n");
    let hooks = with(&[(task, &own)]).restore().targets.remove(0).hooks.unwrap();
    assert!(hooks.pre.is_some());
    assert_eq!(hooks.post.unwrap().policy, ExecutionPolicy::Always);
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

/// Manifests are checked too; a plan does not rely on it.
#[test]
fn a_hook_that_can_t_be_run_is_refused_before_there_is_a_plan() {
    let (long, many) = ("x".repeat(65_537), vec!["a"; 257]);
    let much = vec!["y".repeat(60_000); 5];
    for (hook, why) in [
        (json!({}), "exactly one"),
        (json!({"tcpSocket": {"port": 1}, "httpGet": {"port": 1}}), "exactly one"),
        (json!({"exec": {"command": []}}), "exec.command is empty"),
        (json!({"exec": {"command": many}}), "257 arguments"),
        (json!({"exec": {"command": [long]}}), "65537 bytes"),
        (json!({"exec": {"command": much}}), "in all"),
        (json!({"tcpSocket": {"port": 0}}), "port 0"),
        (json!({"httpGet": {"port": 65536}}), "port 65536"),
        (json!({"httpGet": {"port": ""}}), "port is empty"),
        (json!({"httpPost": {"port": 1, "body": long}}), "httpPost.body has 65537"),
    ] {
        let hooks: BackupHooks = serde_json::from_value(json!({ "postBackup": hook })).unwrap();
        let refused = of_backup(Some(&hooks), with(&[]).object(Kind::AppBinding));
        let Err(Unresolved::Refused(failure)) = refused else { unreachable!("{hook}: {refused:?}") };
        assert_eq!(failure.code, Code::InvalidSpec);
        let message = failure.message;
        assert!(message.starts_with("hooks.postBackup: ") && message.contains(why), "{message}");
    }
}
