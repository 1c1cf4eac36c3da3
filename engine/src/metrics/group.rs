//! A group of a Pushgateway: the gauges that one push replaces, and that are deleted with their object.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lagan_schemas::resource::Kind;
use lagan_schemas::subject::ObjectKey;
use url::Url;

/// The name of a job, as Stash builds it: `<invoker kind>-<namespace>-<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PushJob(String);

impl PushJob {
    /// `None` for kinds that are not invokers.
    pub fn of(key: &ObjectKey) -> Option<Self> {
        let kind = match key.kind {
            Kind::BackupConfiguration => "backupconfiguration",
            Kind::RestoreSession => "restoresession",
            _ => return None,
        };
        Some(Self(format!("{kind}-{}-{}", key.namespace.as_deref().unwrap_or_default(), key.name)))
    }

    /// `<gateway>/metrics/job/<job>`. A job with a slash is only accepted in base64.
    pub fn url(&self, gateway: &Url) -> Url {
        let mut url = gateway.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("metrics");
            if self.0.contains('/') {
                path.push("job@base64").push(&URL_SAFE_NO_PAD.encode(&self.0));
            } else {
                path.push("job").push(&self.0);
            }
        }
        url
    }
}

impl fmt::Display for PushJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
