//! A connection to NATS and what is known of the Lagan behind it.

use std::path::PathBuf;

use lagan_bus::Bus;
use lagan_schemas::subject::Cluster;

pub struct Streams {
    pub bus: Bus,
    pub cluster: Cluster,
    /// Folder in which commands create objects.
    pub objects: PathBuf,
    /// Folder of manifests, if the endpoint file of a `lagan up` names it.
    pub manifests: Option<PathBuf>,
}
