//! `./just up-kube`: runs a control plane with Lagan's CRDs until a signal, and prints the environment for a shell.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use lagan_tests::control_plane::ControlPlane;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let plane = ControlPlane::start()?;
        let kubeconfig = plane.kubeconfig();
        println!("export KUBECONFIG='{}'", kubeconfig.display());
        // The file appears complete when everything is ready.
        if let Some(file) = std::env::args_os().nth(1).map(PathBuf::from) {
            let draft = file.with_extension("draft");
            std::fs::write(&draft, format!("{}\n{}\n", std::process::id(), kubeconfig.display()))?;
            std::fs::rename(&draft, &file).context("telling where the kubeconfig is")?;
        }
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        drop(plane);
        Ok(())
    })
}
