//! The ledger of folder mode: the memory that must survive the loss of JetStream (P17), namely uids, ended sessions,
//! schedule marks, open slots and begun restores. Its lines are appended and fsynced under a file lock that all processes
//! share. Under the same lock the file is replaced by one without outdated lines once these are the most.
//! It must not decide anything; callers supply the entries.

mod state;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lagan_schemas::error::chain;
use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

pub use self::state::{Identity, LedgerEntry, State};

const VERSION: u32 = 2;
const FILE: &str = "ledger-2.jsonl";
/// The file of version 1. Its readers remember how far they have read and never look whether the file was replaced, so the
/// file stays, with a last line that stops them.
const EARLIER_FILE: &str = "ledger.jsonl";
/// Number of outdated lines that a ledger may have in any case.
const SLACK: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("ledger `{path}` can't be {action}")]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "line {line} of ledger `{path}` can't be read; restore the file from a copy, or move it away and start without it"
    )]
    Line {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("ledger `{path}` has version {version}; this Lagan reads version {VERSION}")]
    Version { path: PathBuf, version: u32 },
}

#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    earlier: PathBuf,
    lock_path: PathBuf,
    memory: Mutex<Memory>,
}

/// The part of the ledger that was read.
#[derive(Debug, Default)]
struct Memory {
    state: State,
    /// The file that was read last. While it is open, no other file has its inode.
    file: Option<File>,
    format: Format,
    offset: u64,
    lines: usize,
    /// Number of lines from which on a compaction may be worth while.
    look_at: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The file of an earlier version, until a process that works on sessions takes it over.
    #[default]
    Earlier,
    Present,
}

impl Ledger {
    /// Finds the ledger of a data directory that has one. It leaves the file of an earlier version to the processes that
    /// run: a command that only looks must not stop them.
    pub fn find(data_dir: &Path) -> Result<Option<Self>, LedgerError> {
        let ledger = Self::at(data_dir);
        let has_one = ledger.path.exists() || ledger.earlier.exists();
        Ok(has_one.then_some(ledger))
    }

    /// Opens the ledger in a data directory. It is created if it is missing, and one of an earlier version is taken over.
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        let ledger = Self::at(data_dir);
        {
            let mut memory = ledger.memory();
            let _lock = ledger.lock()?;
            ledger.refresh(&mut memory, Tail::IsCut)?;
            if memory.format == Format::Earlier {
                let id = memory.state.id.unwrap_or_else(Uuid::new_v4);
                // From this line on every process of an earlier version refuses the file, so it can't append behind the
                // lines that are taken over. It comes first: a crash after it leaves a file that is taken over again.
                ledger.append(&ledger.earlier, &[LedgerEntry::Ledger { version: VERSION, id }])?;
                ledger.replace(&memory.state.needed(), id)?;
                ledger.refresh(&mut memory, Tail::IsCut)?;
            }
        }
        Ok(ledger)
    }

    fn at(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(FILE),
            earlier: data_dir.join(EARLIER_FILE),
            lock_path: data_dir.join("ledger.lock"),
            memory: Mutex::default(),
        }
    }

    /// Calls `look` with everything that any process has written so far.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> Result<R, LedgerError> {
        let mut memory = self.memory();
        self.refresh(&mut memory, Tail::MayBeHalf)?;
        Ok(look(&memory.state))
    }

    /// Appends the entries that `decide` returns. It sees everything that was written before, and no other process writes
    /// in between.
    pub fn update<R>(&self, decide: impl FnOnce(&State) -> (Vec<LedgerEntry>, R)) -> Result<R, LedgerError> {
        let mut memory = self.memory();
        let _lock = self.lock()?;
        self.refresh(&mut memory, Tail::IsCut)?;
        let (entries, result) = decide(&memory.state);
        if !entries.is_empty() {
            self.append(self.file_of(memory.format), &entries)?;
            self.refresh(&mut memory, Tail::IsCut)?;
            if let Err(error) = self.compact(&mut memory) {
                // The entries are stored, and the file that holds them is whole.
                tracing::warn!(error = chain(&error), "the ledger could not be compacted; it goes on to grow");
            }
        }
        Ok(result)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_of(&self, format: Format) -> &Path {
        match format {
            Format::Earlier => &self.earlier,
            Format::Present => &self.path,
        }
    }

    fn lock(&self) -> Result<Flock<File>, LedgerError> {
        let io = |source| LedgerError::Io { path: self.lock_path.clone(), action: "locked", source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.lock_path).map_err(io)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io(errno.into()))
    }

    fn append(&self, path: &Path, entries: &[LedgerEntry]) -> Result<(), LedgerError> {
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io(path, "opened"))?;
        file.write_all(&text(entries)).map_err(io(path, "written"))?;
        file.sync_all().map_err(io(path, "synced"))?;
        self.sync_directory()
    }

    /// Replaces the file, if more than half of it is outdated.
    fn compact(&self, memory: &mut Memory) -> Result<(), LedgerError> {
        let Some(id) = memory.state.id else { return Ok(()) };
        if memory.format == Format::Earlier || memory.lines < memory.look_at.max(SLACK) {
            return Ok(());
        }
        let needed = memory.state.needed();
        let limit = 2 * needed.len() + SLACK;
        if memory.lines < limit {
            memory.look_at = limit;
            return Ok(());
        }
        // A compaction that fails is not tried again at each line.
        memory.look_at = memory.lines + SLACK;
        self.replace(&needed, id)?;
        self.refresh(memory, Tail::IsCut)
    }

    /// Puts a file of these entries in the place of the present one, or makes the first. At each moment one of the two is
    /// there, whole and on the disk.
    fn replace(&self, entries: &[LedgerEntry], id: Uuid) -> Result<(), LedgerError> {
        let fresh = self.path.with_extension("jsonl.new");
        let mut file = File::create(&fresh).map_err(io(&fresh, "created"))?;
        file.write_all(&text(&[LedgerEntry::Ledger { version: VERSION, id }])).map_err(io(&fresh, "written"))?;
        file.write_all(&text(entries)).map_err(io(&fresh, "written"))?;
        file.sync_all().map_err(io(&fresh, "synced"))?;
        std::fs::rename(&fresh, &self.path).map_err(io(&self.path, "replaced"))?;
        self.sync_directory()
    }

    /// A file's directory entry must survive a power cut too.
    fn sync_directory(&self) -> Result<(), LedgerError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir, "synced"))
    }

    /// Reads the lines that were appended since the last call, or all lines if the file was replaced.
    fn refresh(&self, memory: &mut Memory, tail: Tail) -> Result<(), LedgerError> {
        let Some((file, format)) = self.open_file(memory.format)? else { return Ok(()) };
        let path = self.file_of(format);
        if !is_same(memory.file.as_ref(), &file).map_err(io(path, "read"))? {
            *memory = Memory { file: Some(file), format, ..Memory::default() };
        }
        let Some(file) = &mut memory.file else { return Ok(()) };
        file.seek(SeekFrom::Start(memory.offset)).map_err(io(path, "read"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io(path, "read"))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        for line in text[..whole].split_inclusive(|byte| *byte == b'\n') {
            let number = memory.lines + 1;
            let entry: LedgerEntry = serde_json::from_slice(line).map_err(|source| LedgerError::Line {
                path: path.to_owned(),
                line: number,
                source,
            })?;
            if let LedgerEntry::Ledger { version, .. } = entry
                && version > VERSION
            {
                return Err(LedgerError::Version { path: path.to_owned(), version });
            }
            memory.state.apply(entry);
            memory.lines = number;
            memory.offset += u64::try_from(line.len()).expect("a line fits into memory");
        }
        // Under the lock, half a line is the remains of a write that was never confirmed.
        if tail == Tail::IsCut && whole < text.len() {
            let file = OpenOptions::new().write(true).open(path).map_err(io(path, "opened"))?;
            file.set_len(memory.offset).map_err(io(path, "repaired"))?;
        }
        Ok(())
    }

    /// Opens the file that counts; `None` if there is none yet. A ledger of the present format never gives way to an
    /// earlier one, which lacks what was done since.
    fn open_file(&self, read: Format) -> Result<Option<(File, Format)>, LedgerError> {
        let is_missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        match File::open(&self.path) {
            Ok(file) => return Ok(Some((file, Format::Present))),
            Err(error) if is_missing(&error) && read == Format::Earlier => {}
            Err(error) => return Err(io(&self.path, "opened")(error)),
        }
        match File::open(&self.earlier) {
            Ok(file) => Ok(Some((file, Format::Earlier))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(io(&self.earlier, "opened")(error)),
        }
    }
}

fn io(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> LedgerError {
    move |source| LedgerError::Io { path: path.to_owned(), action, source }
}

fn text(entries: &[LedgerEntry]) -> Vec<u8> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry).expect("entries are JSON");
        text.push(b'\n');
    }
    text
}

fn is_same(known: Option<&File>, found: &File) -> std::io::Result<bool> {
    let Some(known) = known else { return Ok(false) };
    let (known, found) = (known.metadata()?, found.metadata()?);
    Ok((known.dev(), known.ino()) == (found.dev(), found.ino()))
}

/// The meaning of half a line at the end of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Another process may be writing it, so it is left alone.
    MayBeHalf,
    /// This process holds the lock, so it is the remains of a crash.
    IsCut,
}

#[cfg(test)]
mod tests;
