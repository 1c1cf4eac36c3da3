//! The TCP connections of a child, from the tables of the kernel. It must not decide what they mean.

use std::collections::BTreeSet;
use std::fs;

/// A connection that is established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSocket {
    /// Its port on our side, by which a server names it.
    pub port: u16,
    /// Whether bytes wait in it that the other side has not taken.
    pub is_sending: bool,
}

/// Finds the connections of a process group to a port of a server. What can't be read is left out.
pub(super) fn client_sockets(group: i32, server_port: u16) -> Vec<ClientSocket> {
    let inodes = members(group).into_iter().flat_map(sockets_of).collect();
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{group}/net/{table}")).unwrap_or_default());
    tables.iter().flat_map(|table| parse(table, &inodes, server_port)).collect()
}

fn members(group: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| group_of(*pid) == Some(group)).collect()
}

fn group_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything. State and parent stand before the group.
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// Inodes of the sockets that a process has open.
fn sockets_of(pid: i32) -> Vec<u64> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inode = |link: fs::DirEntry| {
        let target = fs::read_link(link.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    links.filter_map(inode).collect()
}

/// Reads a table such as /proc/net/tcp.
fn parse(table: &str, inodes: &BTreeSet<u64>, server_port: u16) -> Vec<ClientSocket> {
    const ESTABLISHED: &str = "01";
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, ESTABLISHED, queues, _, _, _, _, inode, ..] = fields[..] else { return None };
        let unsent = u64::from_str_radix(queues.split(':').next()?, 16).ok()?;
        let ours = inodes.contains(&inode.parse().ok()?) && port(remote)? == server_port;
        ours.then_some(ClientSocket { port: port(local)?, is_sending: unsent > 0 })
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// The sockets of this process to the server, by their port.
    fn own(server_port: u16, port: u16) -> Option<ClientSocket> {
        let inodes = sockets_of(std::process::id().cast_signed()).into_iter().collect();
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
        parse(&table, &inodes, server_port).into_iter().find(|socket| socket.port == port)
    }

    #[test]
    fn a_connection_of_a_process_is_found_and_whether_the_server_takes_its_bytes() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let server_port = server.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", server_port)).unwrap();
        let port = client.local_addr().unwrap().port();
        let _accepted = server.accept().unwrap();
        assert_eq!(own(server_port, port), Some(ClientSocket { port, is_sending: false }));
        assert_eq!(own(server_port.wrapping_add(1), port), None, "another server");
        // Nobody reads, so the rest of what is written stays here.
        client.set_nonblocking(true).unwrap();
        let block = vec![0; 64 * 1024];
        while client.write(&block).is_ok() {}
        assert_eq!(own(server_port, port), Some(ClientSocket { port, is_sending: true }));
        let group = group_of(std::process::id().cast_signed()).unwrap();
        assert!(members(group).contains(&std::process::id().cast_signed()));
    }
}
