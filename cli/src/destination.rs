//! Chooses the Lagan that a command talks to: the NATS server of one that runs on a folder, or the API server of a
//! cluster. The choice is pure: it must not look for either.

use crate::invocation::ProgramName;

/// Everything that the choice depends on, known before a connection is made.
#[derive(Debug, Clone, Copy)]
pub struct Clues {
    pub program: ProgramName,
    /// `--context` or `--kubeconfig`.
    pub cluster: Given,
    /// `--data-dir` on the command line; its variable names no Lagan if another option does.
    pub data_dir: Given,
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
pub enum Destination {
    Bus,
    Cluster,
    /// Objects of the cluster, facts from its NATS server.
    ClusterWithFacts,
    /// Nothing names a Lagan.
    Nowhere,
}

#[must_use]
pub const fn choose(clues: Clues) -> Destination {
    let asks_for_cluster = clues.cluster.is_given() || matches!(clues.program, ProgramName::KubectlPlugin);
    match (asks_for_cluster, clues.nats_url.is_given()) {
        (true, true) => Destination::ClusterWithFacts,
        (true, false) => Destination::Cluster,
        (false, true) => Destination::Bus,
        (false, false) if clues.data_dir.is_given() || clues.endpoint.is_given() => Destination::Bus,
        (false, false) if clues.kubeconfig.is_given() => Destination::Cluster,
        (false, false) => Destination::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_lagan_is_chosen_unless_another_is_named() {
        use ProgramName::{KubectlPlugin, Lagan};
        let table = [
            // program, --context, --nats-url, endpoint file, kubeconfig file
            ((Lagan, false, false, false, false), Destination::Nowhere),
            ((Lagan, false, false, false, true), Destination::Cluster),
            ((Lagan, false, false, true, false), Destination::Bus),
            ((Lagan, false, false, true, true), Destination::Bus),
            ((Lagan, false, true, false, true), Destination::Bus),
            ((Lagan, false, true, true, true), Destination::Bus),
            ((Lagan, true, false, false, false), Destination::Cluster),
            ((Lagan, true, false, true, true), Destination::Cluster),
            ((Lagan, true, true, true, true), Destination::ClusterWithFacts),
            ((KubectlPlugin, false, false, false, false), Destination::Cluster),
            ((KubectlPlugin, false, false, true, true), Destination::Cluster),
            ((KubectlPlugin, false, true, true, true), Destination::ClusterWithFacts),
            ((KubectlPlugin, true, false, true, true), Destination::Cluster),
        ];
        for ((program, cluster, nats_url, endpoint, kubeconfig), destination) in table {
            let clues = Clues {
                program,
                cluster: Given::when(cluster),
                data_dir: Given::No,
                nats_url: Given::when(nats_url),
                endpoint: Given::when(endpoint),
                kubeconfig: Given::when(kubeconfig),
            };
            assert_eq!(choose(clues), destination, "{clues:?}");
        }
    }

    #[test]
    fn a_data_directory_that_is_named_never_leads_to_a_cluster() {
        let (no, yes) = (Given::No, Given::Yes);
        let program = ProgramName::Lagan;
        let clues = Clues { program, cluster: no, data_dir: yes, nats_url: no, endpoint: no, kubeconfig: yes };
        assert_eq!(choose(clues), Destination::Bus);
    }
}
