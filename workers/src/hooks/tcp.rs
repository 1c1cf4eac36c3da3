//! `tcpSocket`: opens a connection to a port and sends nothing.

use lagan_schemas::resource::hooks::TcpSocketAction;
use tokio::net::TcpStream;

use super::{CONNECT, HookError, Site};

pub(super) async fn connect(site: &Site<'_>, socket: &TcpSocketAction) -> Result<String, HookError> {
    let port = site.port(&socket.port).await?;
    let checked = site.reach(socket.host.as_deref(), port).await?;
    let place = format!("{}:{port}", checked.host);
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(&checked.addresses[..])).await;
    match connected {
        Ok(Ok(_)) => Ok(format!("{place} accepts connections")),
        Ok(Err(error)) => Err(HookError::Connect(place, error)),
        Err(_) => Err(HookError::Connect(place, std::io::ErrorKind::TimedOut.into())),
    }
}
