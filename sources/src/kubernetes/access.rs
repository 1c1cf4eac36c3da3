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

/// Builds a client from the kubeconfig that kubectl would use, or from the pod's ServiceAccount.
pub async fn client(access: &KubeAccess) -> Result<(Client, String), KubernetesError> {
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
    Ok((Client::try_from(config).map_err(|e| failed(e.into()))?, namespace))
}
