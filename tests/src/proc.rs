//! Reads the process table. Must not signal anybody.

use std::fs;

/// One row of /proc.
pub struct Row {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    /// `Z` is a zombie: dead, not yet waited for.
    pub state: char,
    pub name: String,
}

pub fn table() -> Vec<Row> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(row).collect()
}

/// `root` and all that descend from it, as far as their parents still live.
pub fn descendants(root: i32) -> Vec<Row> {
    let mut rest = table();
    let mut found: Vec<Row> = Vec::new();
    loop {
        let (next, other): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|row| row.pid == root || found.iter().any(|parent| parent.pid == row.parent));
        if next.is_empty() {
            return found;
        }
        found.extend(next);
        rest = other;
    }
}

fn row(pid: i32) -> Option<Row> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
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
