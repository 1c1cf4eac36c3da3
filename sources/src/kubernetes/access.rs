//! Finds the API server of a process.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::KubernetesError;

/// Settings of the connection: a kubeconfig, or the pod's ServiceAccount.
#[derive(Debug, Clone, Default)]
pub struct KubeAccess {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
}

/// A client of an API server.
pub struct ApiConnection {
    pub client: Client,
    /// Namespace of the context.
    pub namespace: String,
    pub server: ApiServer,
}

/// Host and port at which an API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServer {
    pub host: String,
    pub port: u16,
}

/// Builds a client from the kubeconfig that kubectl would use, or from the pod's ServiceAccount.
pub async fn connect(access: &KubeAccess) -> Result<ApiConnection, KubernetesError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| KubernetesError::Config(error);
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &access.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|e| failed(e.into()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| failed(e.into()))?
        }
        None if access.context.is_some() => Config::from_kubeconfig(&options).await.map_err(|e| failed(e.into()))?,
        None => Config::infer().await.map_err(|e| failed(e.into()))?,
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    let namespace = config.default_namespace.clone();
    let server = api_server(&config.cluster_url);
    let client = Client::try_from(config).map_err(|e| failed(e.into()))?;
    Ok(ApiConnection { client, namespace, server })
}

fn api_server(url: &http::Uri) -> ApiServer {
    let default = if url.scheme() == Some(&http::uri::Scheme::HTTP) { 80 } else { 443 };
    ApiServer { host: url.host().unwrap_or_default().to_owned(), port: url.port_u16().unwrap_or(default) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_api_server_has_the_port_of_its_scheme_unless_its_address_names_one() {
        for (url, host, port) in [
            ("https://10.0.0.1:16443/", "10.0.0.1", 16443),
            ("https://kube.example.com/k8s/clusters/c-1", "kube.example.com", 443),
            ("http://localhost", "localhost", 80),
            ("https://[fd00::1]:6443", "[fd00::1]", 6443),
        ] {
            let found = api_server(&url.parse().unwrap());
            assert_eq!((found.host.as_str(), found.port), (host, port), "{url}");
        }
    }
}
