//! Options that lead to a NATS server.

use std::path::PathBuf;

use clap::Args;

/// The account on a NATS server, and the authority that vouches for the server.
#[allow(clippy::struct_field_names, reason = "clap derives the names of the options from them")]
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "NATS")]
pub struct NatsLogin {
    /// File that holds the token for the NATS server
    #[arg(long, value_name = "FILE", conflicts_with = "nats_creds")]
    pub nats_token_file: Option<PathBuf>,
    /// Credentials file (JWT and seed) for the NATS server
    #[arg(long, value_name = "FILE", env = "LAGAN_NATS_CREDS")]
    pub nats_creds: Option<PathBuf>,
    /// File that holds `user:password` for the NATS server
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nats_creds", "nats_token_file"])]
    pub nats_user_file: Option<PathBuf>,
    /// PEM file of the authority that signed the NATS server's certificate; requires TLS
    #[arg(long, value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// JetStream domain, if the server reaches JetStream through a leaf node
    #[arg(long, value_name = "NAME", env = "LAGAN_NATS_DOMAIN", requires = "nats_url")]
    pub nats_domain: Option<String>,
}
