//! Hooks: actions before and after the dump or the restore, in the shape of kmodules' prober, as in Stash.
//! It must not run anything; workers do. The content of hooks stays at their source, because people put tokens there. The
//! published form shows only the kind of each action and its destination.

use std::collections::BTreeSet;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hooks of a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupHooks {
    /// If it fails, nothing is dumped and the session fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_backup: Option<Hook>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_backup: Option<PostHook>,
}

impl BackupHooks {
    /// The hosts that its hooks reach; `None` is the application itself.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<Option<String>> {
        let post = self.post_backup.as_ref().map(PostHook::hook);
        self.pre_backup.iter().chain(&post).flat_map(Hook::hosts).collect()
    }

    #[must_use]
    pub const fn name_any(&self) -> bool {
        self.pre_backup.is_some() || self.post_backup.is_some()
    }

    #[must_use]
    pub fn published(self) -> Self {
        Self {
            pre_backup: self.pre_backup.map(Hook::published),
            post_backup: self.post_backup.map(PostHook::published),
        }
    }
}

/// Hooks of a restore.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreHooks {
    /// If it fails, nothing is restored and the session fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_restore: Option<Hook>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_restore: Option<PostHook>,
}

impl RestoreHooks {
    /// The hosts that its hooks reach; `None` is the application itself.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<Option<String>> {
        let post = self.post_restore.as_ref().map(PostHook::hook);
        self.pre_restore.iter().chain(&post).flat_map(Hook::hosts).collect()
    }

    #[must_use]
    pub const fn name_any(&self) -> bool {
        self.pre_restore.is_some() || self.post_restore.is_some()
    }

    #[must_use]
    pub fn published(self) -> Self {
        Self {
            pre_restore: self.pre_restore.map(Hook::published),
            post_restore: self.post_restore.map(PostHook::published),
        }
    }
}

/// Exactly one of `exec`, `httpGet`, `httpPost` and `tcpSocket`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.exec), has(self.httpGet), has(self.httpPost), has(self.tcpSocket)].filter(x, x).size() == 1").message("hooks: name exactly one of exec, httpGet, httpPost and tcpSocket")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_post: Option<HttpPostAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    /// Container of the application's pod; by default the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

impl Hook {
    /// Returns the hosts that it reaches; `None` is the application itself.
    fn hosts(&self) -> Vec<Option<String>> {
        let get = self.http_get.as_ref().map(|get| (&get.host, &get.port));
        let post = self.http_post.as_ref().map(|post| (&post.host, &post.port));
        let socket = self.tcp_socket.as_ref().map(|socket| (&socket.host, &socket.port));
        let mut hosts: Vec<Option<String>> = self.exec.iter().map(|_| None).collect();
        for (host, port) in [get, post, socket].into_iter().flatten() {
            hosts.push(host.clone().filter(|host| !host.is_empty()));
            // The name of a port is looked up in the application's Service.
            if matches!(port, Port::Name(_)) {
                hosts.push(None);
            }
        }
        hosts
    }

    /// Returns the published form. Each action is spelled out, so that a later field is not published by oversight.
    #[must_use]
    pub fn published(self) -> Self {
        Self {
            exec: self.exec.map(|_| ExecAction { command: Vec::new() }),
            http_get: self.http_get.map(HttpGetAction::published),
            http_post: self.http_post.map(HttpPostAction::published),
            // It holds only a port and a host.
            tcp_socket: self.tcp_socket,
            container_name: self.container_name,
        }
    }
}

/// A hook that may depend on the result of the session.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.exec), has(self.httpGet), has(self.httpPost), has(self.tcpSocket)].filter(x, x).size() == 1").message("hooks: name exactly one of exec, httpGet, httpPost and tcpSocket")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostHook {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_post: Option<HttpPostAction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    /// Container of the application's pod; by default the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Always (default), OnSuccess, OnFailure or OnFinalRetryFailure: after a failure that is not tried again.
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub execution_policy: ExecutionPolicy,
}

impl PostHook {
    /// Returns the action alone.
    #[must_use]
    pub fn hook(&self) -> Hook {
        Hook {
            exec: self.exec.clone(),
            http_get: self.http_get.clone(),
            http_post: self.http_post.clone(),
            tcp_socket: self.tcp_socket.clone(),
            container_name: self.container_name.clone(),
        }
    }

    /// Returns the published form and the policy.
    #[must_use]
    pub fn published(self) -> Self {
        let execution_policy = self.execution_policy;
        let Hook { exec, http_get, http_post, tcp_socket, container_name } = self.hook().published();
        Self { exec, http_get, http_post, tcp_socket, container_name, execution_policy }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExecutionPolicy {
    #[default]
    Always,
    OnSuccess,
    OnFailure,
    OnFinalRetryFailure,
}

/// A program in a pod of the application, found through the Service of the AppBinding.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecAction {
    /// An argv, never a shell line. `{{ .status.phase }}` and the like are filled in.
    #[schemars(length(max = 256), inner(length(max = 65536)))]
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGetAction {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub port: Port,
    /// The host; by default the application's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub scheme: Scheme,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    #[schemars(length(max = 64))]
    pub http_headers: Vec<HttpHeader>,
}

impl HttpGetAction {
    /// Returns the published form. It lacks the path, which is secret in the case of a webhook.
    fn published(self) -> Self {
        Self { path: None, port: self.port, host: self.host, scheme: self.scheme, http_headers: Vec::new() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPostAction {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub port: Port,
    /// The host; by default the application's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub scheme: Scheme,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    #[schemars(length(max = 64))]
    pub http_headers: Vec<HttpHeader>,
    /// The body, with templates filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
    /// The form that is sent if there is no body.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    #[schemars(length(max = 64))]
    pub form: Vec<FormEntry>,
}

impl HttpPostAction {
    fn published(self) -> Self {
        Self {
            path: None,
            port: self.port,
            host: self.host,
            scheme: self.scheme,
            http_headers: Vec::new(),
            body: None,
            form: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpSocketAction {
    pub port: Port,
    /// The host; by default the application's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpHeader {
    pub name: String,
    #[serde(default, deserialize_with = "super::null_is_absent")]
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FormEntry {
    pub key: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::null_is_absent")]
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scheme {
    #[default]
    #[serde(rename = "HTTP", alias = "http")]
    Http,
    #[serde(rename = "HTTPS", alias = "https")]
    Https,
}

/// A port's number, or the name that the Service or the container gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Port {
    Number(i32),
    Name(String),
}

impl Default for Port {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl JsonSchema for Port {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use crate::resource::Object;

    /// Actions with a canary wherever people put tokens, and what of each is published.
    fn actions() -> [(Value, Value); 4] {
        let header = json!([{"name": "Authorization", "value": "Bearer CANARY"}]);
        let form = json!([{"key": "CANARY-key", "values": ["CANARY"]}]);
        [
            (
                json!({"exec": {"command": ["CANARY", "-c", "echo CANARY"]}, "containerName": "db"}),
                json!({"exec": {"command": []}, "containerName": "db"}),
            ),
            (
                json!({"httpGet": {"port": "hook", "host": "h", "scheme": "HTTPS", "path": "/CANARY?t=CANARY", "httpHeaders": header}}),
                json!({"httpGet": {"port": "hook", "host": "h", "scheme": "HTTPS"}}),
            ),
            (
                json!({"httpPost": {"port": 80, "path": "CANARY", "httpHeaders": header, "body": "CANARY", "form": form}}),
                json!({"httpPost": {"port": 80, "scheme": "HTTP"}}),
            ),
            (json!({"tcpSocket": {"port": 1, "host": "h"}}), json!({"tcpSocket": {"port": 1, "host": "h"}})),
        ]
    }

    fn with_policy(mut hook: Value) -> Value {
        hook["executionPolicy"] = "OnFailure".into();
        hook
    }

    /// An object of each kind that can have hooks.
    fn objects(pre: &Value, post: &Value) -> [Value; 3] {
        let object = |kind: &str, spec: Value| json!({"apiVersion": "lagan.dev/v1alpha1", "kind": kind, "metadata": {"name": "x", "generation": 1}, "spec": spec});
        let retention = json!({"name": "few", "keepLast": 1});
        let backup = json!({"preBackup": pre, "postBackup": post});
        let restore = json!({"preRestore": pre, "postRestore": post});
        [
            object(
                "BackupConfiguration",
                json!({"schedule": "@daily", "repository": {"name": "r"}, "retentionPolicy": retention, "hooks": backup}),
            ),
            object("RestoreSession", json!({"repository": {"name": "r"}, "hooks": restore})),
            object(
                "BackupBlueprint",
                json!({"schedule": "@daily", "backend": {"storageSecretName": "s"}, "retentionPolicy": retention, "hooks": backup}),
            ),
        ]
    }

    #[test]
    fn the_hosts_of_hooks_are_known_from_their_published_shape() {
        let hosts = [vec![None], vec![None, Some("h".to_owned())], vec![None], vec![Some("h".to_owned())]];
        for ((written, published), hosts) in actions().into_iter().zip(hosts) {
            for value in [written, published] {
                let hooks: super::RestoreHooks = serde_json::from_value(json!({ "preRestore": value })).unwrap();
                assert_eq!(hooks.hosts().into_iter().collect::<Vec<_>>(), hosts, "{value}");
                let hooks: super::BackupHooks = serde_json::from_value(json!({ "postBackup": value })).unwrap();
                assert_eq!(hooks.hosts().into_iter().collect::<Vec<_>>(), hosts, "{value}");
            }
        }
    }

    #[test]
    fn of_a_hook_only_its_shape_is_published() {
        for (written, published) in actions() {
            for object in objects(&written, &with_policy(written.clone())) {
                let read = Object::from_json(object.clone()).unwrap();
                let shown = read.clone().published();
                let text = shown.to_json().to_string();
                assert!(!text.contains("CANARY"), "{text}");
                let [pre, post] = ["Backup", "Restore"]
                    .map(|of| [format!("pre{of}"), format!("post{of}")])
                    .into_iter()
                    .find(|[pre, _]| object["spec"]["hooks"].get(pre).is_some())
                    .unwrap();
                let hooks = &shown.to_json()["spec"]["hooks"];
                assert_eq!((&hooks[&pre], &hooks[&post]), (&published, &with_policy(published.clone())));
                // What is read from the bus is what was published there, and everything else of it has stayed.
                assert_eq!(Object::from_json(shown.to_json()).unwrap(), shown);
                assert_eq!(shown.clone().published(), shown);
                assert_eq!(read.metadata, shown.metadata);
            }
        }
    }
}
