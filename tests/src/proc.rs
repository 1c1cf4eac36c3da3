//! Reads the process table. It must not signal any process.

use std::fs;
use std::io::{Error, ErrorKind, Result};

/// One row of /proc.
pub struct Row {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    /// `Z` is a zombie: dead, not yet waited for.
    pub state: char,
    pub name: String,
}

/// All processes. Without a readable /proc this is an error: an empty table would let a test pass that saw nothing.
pub fn table() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            rows.extend(row(pid)?);
        }
    }
    Ok(rows)
}

/// `root` and all its descendants, as far as their parents still live.
pub fn descendants(root: i32) -> Result<Vec<Row>> {
    let mut rest = table()?;
    let mut found: Vec<Row> = Vec::new();
    loop {
        let (next, other): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|row| row.pid == root || found.iter().any(|parent| parent.pid == row.parent));
        if next.is_empty() {
            return Ok(found);
        }
        found.extend(next);
        rest = other;
    }
}

/// A file of a process, such as `environ`; `None` if the process has ended.
pub fn read(pid: i32, file: &str) -> Result<Option<Vec<u8>>> {
    match fs::read(format!("/proc/{pid}/{file}")) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if has_ended(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A process that ends while it is read gives one of two errors; every other one means that it can't be read.
fn has_ended(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

fn row(pid: i32) -> Result<Option<Row>> {
    let Some(stat) = read(pid, "stat")? else { return Ok(None) };
    let stat = String::from_utf8_lossy(&stat);
    parse(pid, &stat).map(Some).ok_or_else(|| Error::other(format!("/proc/{pid}/stat has another form: {stat}")))
}

fn parse(pid: i32, stat: &str) -> Option<Row> {
    // The name is in parentheses and may hold spaces and parentheses itself.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_whitespace();
    Some(Row {
        pid,
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_has_ended_may_be_unreadable() {
        assert!(has_ended(&Error::from_raw_os_error(nix::libc::ENOENT)));
        assert!(has_ended(&Error::from_raw_os_error(nix::libc::ESRCH)));
        for denied in [nix::libc::EACCES, nix::libc::EPERM] {
            assert!(!has_ended(&Error::from_raw_os_error(denied)));
        }
        assert!(read(1, "no-such-file").is_ok_and(|bytes| bytes.is_none()));
        assert!(table().is_ok_and(|rows| rows.iter().any(|row| row.pid == std::process::id().cast_signed())));
    }
}
