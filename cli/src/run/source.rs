//! Opens the source of intent of a process: a folder with its data directory, or an API server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lagan_schemas::error::chain;
use lagan_sources::Source;
use lagan_sources::endpoint::data_dir;
use lagan_sources::folder::Folder;
use lagan_sources::kubernetes::{KubeAccess, Kubernetes, StashCompat, connect};
use lagan_sources::ledger::Ledger;
use lagan_sources::source::FolderSource;

use crate::args::{Global, SourceArgs};
use crate::error::{Exit, Problem};

pub(super) async fn source(args: &SourceArgs, stash: StashCompat, global: &Global) -> Result<Source, Problem> {
    match &args.manifests {
        Some(manifests) => folder(manifests, global).map(Source::from),
        None => kubernetes(args, stash, global).await.map(Source::from),
    }
}

async fn kubernetes(args: &SourceArgs, wanted: StashCompat, global: &Global) -> Result<Kubernetes, Problem> {
    let access = KubeAccess { kubeconfig: global.kubeconfig.clone(), context: global.context.clone() };
    let failed = |error: &dyn std::error::Error| {
        Problem::new(Exit::Unreachable, chain(error))
            .help("check the kubeconfig and its context; in a pod, the ServiceAccount and its rights")
    };
    let connection = connect(&access).await.map_err(|error| failed(&error))?;
    let mut kubernetes = Kubernetes::new(connection, wanted, args.namespaces.clone());
    if wanted == StashCompat::On && kubernetes.stash_operator_runs().await.map_err(|error| failed(&error))? {
        tracing::warn!("a Stash operator runs in this cluster: objects of stash.appscode.com are left to it");
        kubernetes.stash = StashCompat::LeftToOperator;
    }
    Ok(kubernetes)
}

pub(super) fn folder(manifests: &Path, global: &Global) -> Result<FolderSource, Problem> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let data_dir = data_dir(global.data_dir.clone(), var("XDG_STATE_HOME"), var("HOME"));
    let manifests = manifests.canonicalize().map_err(|error| {
        Problem::new(Exit::Failed, format!("folder of manifests `{}` can't be opened: {error}", manifests.display()))
            .help("--manifests names a folder with YAML files; deploy/examples/quickstart is one")
    })?;
    std::fs::create_dir_all(data_dir.join("objects")).map_err(|error| {
        Problem::new(Exit::Failed, format!("data directory `{}` can't be created: {error}", data_dir.display()))
    })?;
    make_private(&data_dir)?;
    let data_dir = data_dir.canonicalize().unwrap_or(data_dir);
    let objects = data_dir.join("objects");
    let ledger = Ledger::open(&data_dir).map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    let folder = Folder::new(vec![manifests, objects.clone()]);
    Ok(FolderSource { folder: Arc::new(folder), ledger: Arc::new(ledger), objects, data_dir })
}

/// Denies access to other users: the folder holds a token, the ledger and the session log.
fn make_private(dir: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(|error| {
        Problem::new(Exit::Failed, format!("data directory `{}` can't be made private: {error}", dir.display()))
    })
}
