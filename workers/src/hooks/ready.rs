//! Hooks as they stand at their source, checked and ready to run: each is one action within its limits. This file must
//! not run them. Its types cannot be printed or published, because people put tokens into hooks.

use lagan_schemas::error::{Code, Failure};
use lagan_schemas::resource::hooks::{
    ExecAction, ExecutionPolicy, Hook, HttpGetAction, HttpPostAction, Port, PostHook, TcpSocketAction,
};
use lagan_schemas::resource::{Object, Spec};
use serde::Serialize;

const ARGUMENTS: usize = 256;
const TEXT_BYTES: usize = 64 * 1024;
/// Limit for all text of one hook, because an argv travels in the address of a request.
const HOOK_BYTES: usize = 256 * 1024;
const HEADERS: usize = 64;

/// The hooks before and after the work of one attempt.
#[derive(Default)]
pub(crate) struct ReadyHooks {
    pub pre: Option<ReadyHook>,
    pub post: Option<ReadyPostHook>,
}

pub(crate) struct ReadyHook {
    pub action: Action,
    /// Container of the application's pod; `None` means the first one.
    pub container: Option<String>,
}

pub(crate) struct ReadyPostHook {
    pub hook: ReadyHook,
    pub policy: ExecutionPolicy,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    Exec(ExecAction),
    HttpGet(HttpGetAction),
    HttpPost(HttpPostAction),
    TcpSocket(TcpSocketAction),
}

impl ReadyHooks {
    /// Reads the hooks of an object whose session runs.
    pub fn of(object: &Object) -> Result<Self, Failure> {
        let (pre, post) = match &object.spec {
            Spec::BackupConfiguration(spec) => {
                let hooks = spec.hooks.as_ref();
                let pre = hooks.and_then(|hooks| hooks.pre_backup.as_ref());
                let post = hooks.and_then(|hooks| hooks.post_backup.as_ref());
                (pre.map(|hook| ("hooks.preBackup", hook)), post.map(|hook| ("hooks.postBackup", hook)))
            }
            Spec::RestoreSession(spec) => {
                let hooks = spec.hooks.as_ref();
                let pre = hooks.and_then(|hooks| hooks.pre_restore.as_ref());
                let post = hooks.and_then(|hooks| hooks.post_restore.as_ref());
                (pre.map(|hook| ("hooks.preRestore", hook)), post.map(|hook| ("hooks.postRestore", hook)))
            }
            _ => return Err(Failure::new(Code::Internal, format!("{} has no hooks", object.key()))),
        };
        let pre = pre.map(|(field, hook)| ready(field, hook)).transpose()?;
        let post = post.map(|(field, hook)| ready_post(field, hook)).transpose()?;
        Ok(Self { pre, post })
    }

    pub fn all(&self) -> impl Iterator<Item = &ReadyHook> {
        self.pre.iter().chain(self.post.iter().map(|post| &post.hook))
    }
}

fn ready_post(field: &str, post: &PostHook) -> Result<ReadyPostHook, Failure> {
    Ok(ReadyPostHook { hook: ready(field, &post.hook())?, policy: post.execution_policy })
}

fn ready(field: &str, hook: &Hook) -> Result<ReadyHook, Failure> {
    let invalid = |why: String| Failure::new(Code::InvalidSpec, format!("{field}: {why}"));
    let actions = [
        hook.exec.clone().map(Action::Exec),
        hook.http_get.clone().map(Action::HttpGet),
        hook.http_post.clone().map(Action::HttpPost),
        hook.tcp_socket.clone().map(Action::TcpSocket),
    ];
    let mut named = actions.into_iter().flatten();
    let (Some(action), None) = (named.next(), named.next()) else {
        return Err(invalid("name exactly one of exec, httpGet, httpPost and tcpSocket".to_owned()));
    };
    check(&action).map_err(invalid)?;
    Ok(ReadyHook { action, container: hook.container_name.clone().filter(|name| !name.is_empty()) })
}

fn check(action: &Action) -> Result<(), String> {
    let (port, headers) = match action {
        Action::Exec(exec) => {
            let (count, longest) = (exec.command.len(), exec.command.iter().map(String::len).max().unwrap_or_default());
            if count == 0 || exec.command[0].is_empty() {
                return Err("exec.command is empty".to_owned());
            }
            if count > ARGUMENTS || longest > TEXT_BYTES {
                return Err(format!(
                    "exec.command has {count} arguments, the longest of {longest} bytes; {ARGUMENTS} of {TEXT_BYTES} bytes are the limit"
                ));
            }
            (None, 0)
        }
        Action::HttpGet(get) => (Some(&get.port), get.http_headers.len()),
        Action::HttpPost(post) => {
            let length = post.body.as_ref().map_or(0, String::len);
            if length > TEXT_BYTES {
                return Err(format!("httpPost.body has {length} bytes; {TEXT_BYTES} are the limit"));
            }
            (Some(&post.port), post.http_headers.len().max(post.form.len()))
        }
        Action::TcpSocket(socket) => (Some(&socket.port), 0),
    };
    match port {
        Some(Port::Number(number)) if !(1..=65_535).contains(number) => {
            return Err(format!("port {number} is not between 1 and 65535"));
        }
        Some(Port::Name(name)) if name.is_empty() => return Err("its port is empty".to_owned()),
        _ => {}
    }
    if headers > HEADERS {
        return Err(format!("{headers} headers or form entries; {HEADERS} are the limit"));
    }
    let size = serde_json::to_string(action).map_or(0, |text| text.len());
    if size > HOOK_BYTES {
        return Err(format!("it has {size} bytes in all; {HOOK_BYTES} are the limit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, hooks: &Value) -> Object {
        let spec = match kind {
            "RestoreSession" => json!({"repository": {"name": "r"}, "hooks": hooks}),
            _ => json!({
                "schedule": "@daily", "repository": {"name": "r"}, "retentionPolicy": {"name": "k", "keepLast": 1}, "hooks": hooks,
            }),
        };
        let object = json!({"apiVersion": "lagan.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        Object::from_json(object).unwrap()
    }

    fn of(kind: &str, hooks: &Value) -> Result<ReadyHooks, Failure> {
        ReadyHooks::of(&object(kind, hooks))
    }

    #[test]
    fn hooks_of_a_backup_come_with_their_policy() {
        let hooks = of(
            "BackupConfiguration",
            &json!({
                "preBackup": {"exec": {"command": ["sh", "-c", "echo {{ .Name }}"]}, "containerName": "mariadb"},
                "postBackup": {"httpPost": {"port": "hook", "path": "/done"}, "executionPolicy": "OnFinalRetryFailure", "containerName": ""},
            }),
        )
        .unwrap();
        let (pre, post) = (hooks.pre.unwrap(), hooks.post.unwrap());
        assert!(matches!(&pre.action, Action::Exec(exec) if exec.command.len() == 3));
        assert_eq!((pre.container.as_deref(), post.hook.container), (Some("mariadb"), None));
        assert_eq!(post.policy, ExecutionPolicy::OnFinalRetryFailure);
        assert!(matches!(&post.hook.action, Action::HttpPost(post) if post.port == Port::Name("hook".into())));
    }

    #[test]
    fn hooks_of_a_restore_are_its_own() {
        let hooks = json!({"preRestore": {"tcpSocket": {"port": 80}}, "postRestore": {"httpGet": {"port": 1}}});
        let hooks = of("RestoreSession", &hooks).unwrap();
        assert!(hooks.pre.is_some());
        assert_eq!(hooks.post.unwrap().policy, ExecutionPolicy::Always);
    }

    #[test]
    fn an_object_whose_hooks_were_removed_has_none_that_run() {
        for nothing in [Value::Null, json!({})] {
            assert_eq!(of("BackupConfiguration", &nothing).unwrap().all().count(), 0);
        }
    }

    /// Manifests are checked as well, but a worker does not rely on it.
    #[test]
    fn a_hook_that_can_t_be_run_is_refused_before_anything_runs() {
        let (long, many) = ("x".repeat(65_537), vec!["a"; 257]);
        let (much, header) = (vec!["y".repeat(60_000); 5], json!({"name": "a", "value": "b"}));
        for (hook, why) in [
            (json!({}), "exactly one"),
            (json!({"tcpSocket": {"port": 1}, "httpGet": {"port": 1}}), "exactly one"),
            (json!({"exec": {"command": []}}), "exec.command is empty"),
            (json!({"exec": {"command": [""]}}), "exec.command is empty"),
            (json!({"exec": {"command": many}}), "257 arguments"),
            (json!({"exec": {"command": [long]}}), "65537 bytes"),
            (json!({"exec": {"command": much}}), "in all"),
            (json!({"tcpSocket": {"port": 0}}), "port 0"),
            (json!({"httpGet": {"port": 65536}}), "port 65536"),
            (json!({"httpGet": {"port": ""}}), "port is empty"),
            (json!({"httpGet": {"port": 1, "httpHeaders": vec![header; 65]}}), "65 headers"),
            (json!({"httpPost": {"port": 1, "body": long}}), "httpPost.body has 65537"),
        ] {
            for (kind, field) in [("BackupConfiguration", "postBackup"), ("RestoreSession", "preRestore")] {
                let failure = of(kind, &json!({ field: hook })).err().unwrap();
                assert_eq!(failure.code, Code::InvalidSpec);
                let message = failure.message;
                assert!(message.starts_with(&format!("hooks.{field}: ")) && message.contains(why), "{message}");
            }
        }
    }
}
