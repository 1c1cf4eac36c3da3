//! Options for connections to storages, which are the same wherever a repository is opened.

use clap::Args;

/// Exceptions and the proxy of connections to storages.
#[derive(Debug, Clone, Default, Args)]
pub struct StorageFlags {
    /// Host that the endpoint of a Repository may name although its address is link-local or a metadata service
    /// (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub allow_storage_host: Vec<String>,
    /// HTTP proxy for requests to storages; the proxy variables of the environment are ignored
    #[arg(long, value_name = "URL")]
    pub storage_proxy: Option<url::Url>,
}
