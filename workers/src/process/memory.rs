//! Files that exist only in memory: secrets and scripts that a child reads through `/proc/self/fd/N`. They are sealed,
//! so that they cannot be changed once the child has them, and marked close-on-exec in this process.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::fd::OwnedFd,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::{Mode, fchmod},
    },
};

/// Creates a sealed memory file with mode 0400, positioned at its start. The mode matters: database clients ignore an
/// option file that other users could write, and then connect to their default server.
pub(super) fn file(content: &[u8]) -> std::io::Result<OwnedFd> {
    let fd = memfd_create(c"lagan", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    file.seek(SeekFrom::Start(0))?;
    fchmod(&file, Mode::S_IRUSR)?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}
