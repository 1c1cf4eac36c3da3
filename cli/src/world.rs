//! Which Lagan a command talks to: the bus of one that runs on a folder, or the API server of a cluster.
//! A decision over values; it must not look for them.

use crate::invocation::Invoked;

/// What is known before anything is connected to.
#[derive(Debug, Clone, Copy)]
pub struct Clues {
    pub invoked: Invoked,
    /// `--context` or `--kubeconfig`.
    pub cluster: Given,
    /// `--nats-url` or its variable.
    pub nats_url: Given,
    /// The endpoint file of a running `lagan up`.
    pub endpoint: Given,
    /// `$KUBECONFIG`, or `~/.kube/config`.
    pub kubeconfig: Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    Yes,
    No,
}

impl Given {
    #[must_use]
    pub const fn when(condition: bool) -> Self {
        if condition { Self::Yes } else { Self::No }
    }

    #[must_use]
    pub const fn is_given(self) -> bool {
        matches!(self, Self::Yes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    Bus,
    Cluster,
    /// Objects of the cluster, facts from its NATS server.
    ClusterWithFacts,
    /// There is nothing to talk to.
    Nowhere,
}

#[must_use]
pub const fn choose(clues: Clues) -> World {
    let asks_for_cluster = clues.cluster.is_given() || matches!(clues.invoked, Invoked::AsPlugin);
    match (asks_for_cluster, clues.nats_url.is_given()) {
        (true, true) => World::ClusterWithFacts,
        (true, false) => World::Cluster,
        (false, true) => World::Bus,
        (false, false) if clues.endpoint.is_given() => World::Bus,
        (false, false) if clues.kubeconfig.is_given() => World::Cluster,
        (false, false) => World::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_lagan_is_talked_to_unless_another_is_named() {
        use Invoked::{AsLagan, AsPlugin};
        let table = [
            // invoked, --context, --nats-url, endpoint file, kubeconfig file
            ((AsLagan, false, false, false, false), World::Nowhere),
            ((AsLagan, false, false, false, true), World::Cluster),
            ((AsLagan, false, false, true, false), World::Bus),
            ((AsLagan, false, false, true, true), World::Bus),
            ((AsLagan, false, true, false, true), World::Bus),
            ((AsLagan, false, true, true, true), World::Bus),
            ((AsLagan, true, false, false, false), World::Cluster),
            ((AsLagan, true, false, true, true), World::Cluster),
            ((AsLagan, true, true, true, true), World::ClusterWithFacts),
            ((AsPlugin, false, false, false, false), World::Cluster),
            ((AsPlugin, false, false, true, true), World::Cluster),
            ((AsPlugin, false, true, true, true), World::ClusterWithFacts),
            ((AsPlugin, true, false, true, true), World::Cluster),
        ];
        for ((invoked, cluster, nats_url, endpoint, kubeconfig), world) in table {
            let clues = Clues {
                invoked,
                cluster: Given::when(cluster),
                nats_url: Given::when(nats_url),
                endpoint: Given::when(endpoint),
                kubeconfig: Given::when(kubeconfig),
            };
            assert_eq!(choose(clues), world, "{clues:?}");
        }
    }
}
