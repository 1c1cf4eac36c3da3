//! An application as hooks need it: the named ports of its Service, and programs in one of its pods.
//! It must not judge the exit of a program; the caller does.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, ListParams};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Kubernetes, KubernetesError, answer};

/// Number of bytes kept from the end of a program's output. The rest is read and dropped, or the program would block.
const TAIL_BYTES: usize = 2 * 1024;
const CONNECT: Duration = Duration::from_secs(15);

/// The end of a program in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    pub pod: String,
    /// The exit status, if the program ended by itself.
    pub exit_code: Option<i32>,
    /// The API server's message about a program that failed or could not be run.
    pub message: String,
    /// The end of stderr, or of stdout if stderr is empty.
    pub tail: String,
}

/// A program for a pod.
#[derive(Debug, Clone, Copy)]
pub struct PodCommand<'a> {
    pub argv: &'a [String],
    /// The container; by default the pod's first one.
    pub container: Option<&'a str>,
}

impl Kubernetes {
    /// Looks up a Service's port by its name.
    pub async fn service_port(&self, namespace: &str, name: &str, port: &str) -> Result<Option<u16>, KubernetesError> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let found = answer("get Service", &format!("{namespace}/{name}"), api.get_opt(name)).await?;
        let ports = found.and_then(|service| service.spec).and_then(|spec| spec.ports).unwrap_or_default();
        let named = ports.into_iter().find(|found| found.name.as_deref() == Some(port));
        Ok(named.and_then(|found| u16::try_from(found.port).ok()))
    }

    /// The annotations of a Service; `None` if there is no such Service.
    pub async fn service_annotations(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, KubernetesError> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let found = answer("get Service", &format!("{namespace}/{name}"), api.get_metadata_opt(name)).await?;
        Ok(found.map(|service| service.metadata.annotations.unwrap_or_default()))
    }

    /// Whether a Service is there and has addresses of its own. An ExternalName is another name for any host.
    pub async fn has_service(&self, namespace: &str, name: &str) -> Result<bool, KubernetesError> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let found = answer("get Service", &format!("{namespace}/{name}"), api.get_opt(name)).await?;
        Ok(found.is_some_and(|service| service.spec.is_some_and(|spec| spec.type_.as_deref() != Some("ExternalName"))))
    }

    /// Finds a ready pod of a Service.
    pub async fn ready_pod(&self, namespace: &str, service: &str) -> Result<Option<String>, KubernetesError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = answer("list EndpointSlices of", &format!("{namespace}/{service}"), api.list(&params)).await?;
        Ok(ready(slices.items))
    }

    /// Runs a program in a pod until it ends or the future is dropped.
    pub async fn exec(&self, namespace: &str, pod: &str, command: PodCommand<'_>) -> Result<Executed, KubernetesError> {
        let path = format!("{namespace}/{pod}");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let container = match command.container {
            Some(named) => Some(named.to_owned()),
            None => first_container(answer("get Pod", &path, api.get_opt(pod)).await?),
        };
        let params = AttachParams { container, stdin: false, stdout: true, stderr: true, ..AttachParams::default() };
        // Only the start of the program has a limit here; the caller limits its run time.
        let attached = tokio::time::timeout(CONNECT, api.exec(pod, command.argv.to_vec(), &params)).await;
        let mut process = match attached {
            Ok(Ok(process)) => process,
            Ok(Err(kube::Error::Api(status))) => {
                return Err(KubernetesError::Refused { action: "exec in", object: path, status });
            }
            Ok(Err(source)) => {
                return Err(KubernetesError::Request { action: "exec in", object: path, source: Box::new(source) });
            }
            Err(_) => return Err(KubernetesError::NoAnswer { action: "exec in", object: path }),
        };
        let status = process.take_status();
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let (stdout, stderr, status) = tokio::join!(tail(stdout), tail(stderr), async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        });
        let tail = if stderr.is_empty() { stdout } else { stderr };
        let Some(status) = status else {
            let message = "the connection ended before the program did".to_owned();
            return Ok(Executed { pod: pod.to_owned(), exit_code: None, message, tail });
        };
        let exit_code = match status.status.as_deref() {
            Some("Success") => Some(0),
            _ => exit_code(&status),
        };
        Ok(Executed { pod: pod.to_owned(), exit_code, message: status.message.unwrap_or_default(), tail })
    }
}

/// Reads the exit status of a failed program from the causes.
fn exit_code(status: &Status) -> Option<i32> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let cause = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    cause.message.as_ref()?.parse().ok()
}

fn first_container(pod: Option<Pod>) -> Option<String> {
    let containers = pod.and_then(|pod| pod.spec).map(|spec| spec.containers).unwrap_or_default();
    containers.into_iter().next().map(|container| container.name)
}

/// Chooses the first ready pod by name, so that two hooks of a session use the same pod while it is ready.
fn ready(slices: Vec<EndpointSlice>) -> Option<String> {
    let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints);
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        // By the API's definition, unknown means ready.
        conditions.and_then(|c| c.ready).unwrap_or(true)
    });
    let pods = ready.filter_map(|endpoint| endpoint.target_ref).filter(|target| target.kind.as_deref() == Some("Pod"));
    pods.filter_map(|target| target.name).min()
}

async fn tail(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut end, mut block, mut is_cut) = (Vec::new(), [0; 1024], false);
    while let Ok(count @ 1..) = stream.read(&mut block).await {
        end.extend_from_slice(&block[..count]);
        let surplus = end.len().saturating_sub(TAIL_BYTES);
        is_cut |= surplus > 0;
        end.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&end);
    // Half a word may be half a token, which could not be recognised and hidden.
    let from = if is_cut { text.find(char::is_whitespace).unwrap_or(text.len()) } else { 0 };
    text[from..].trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_pod_that_is_ready_is_taken_and_no_other() {
        let slices = |text: &str| -> Vec<EndpointSlice> {
            let slice = serde_json::json!({ "metadata": {}, "addressType": "IPv4", "endpoints": serde_json::from_str::<serde_json::Value>(text).unwrap() });
            vec![serde_json::from_value(slice).unwrap()]
        };
        let pod = |name: &str, ready: &str| {
            format!(
                r#"{{"addresses": ["10.0.0.1"], "conditions": {ready}, "targetRef": {{"kind": "Pod", "name": "{name}"}}}}"#
            )
        };
        let three = [pod("c", r#"{"ready": true}"#), pod("a", r#"{"ready": false}"#), pod("b", "{}")].join(",");
        assert_eq!(ready(slices(&format!("[{three}]"))).as_deref(), Some("b"));
        assert_eq!(ready(slices(&format!("[{}]", pod("a", r#"{"ready": false}"#)))), None);
        assert_eq!(ready(slices(r#"[{"addresses": ["10.0.0.1"]}]"#)), None);
    }

    #[test]
    fn the_exit_status_is_among_the_causes() {
        let status = |details: serde_json::Value| -> Status {
            serde_json::from_value(
                serde_json::json!({ "status": "Failure", "reason": "NonZeroExitCode", "details": details }),
            )
            .unwrap()
        };
        let failed = serde_json::json!({ "causes": [{ "reason": "ExitCode", "message": "7" }] });
        assert_eq!(exit_code(&status(failed)), Some(7));
        assert_eq!(exit_code(&status(serde_json::json!({}))), None);
    }

    #[tokio::test]
    async fn only_the_end_of_what_a_program_says_is_kept() {
        let long = format!("{} the end", "word ".repeat(100_000));
        let kept = tail(Some(long.as_bytes())).await;
        assert!(kept.len() <= TAIL_BYTES && kept.starts_with("word") && kept.ends_with("the end"), "{kept}");
        // What is cut in a word begins after it.
        let token = format!("{} the end", "x".repeat(TAIL_BYTES));
        assert_eq!(tail(Some(token.as_bytes())).await, "the end");
        assert_eq!(tail(Some("whole".as_bytes())).await, "whole");
    }
}
