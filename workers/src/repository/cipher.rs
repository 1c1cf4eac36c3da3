//! restic's encryption and compression of single files and blobs: AES-256-CTR with Poly1305, and zstd. The seal of a
//! backup, the read-back and the restore need them, and `rustic_core` does not export its own. The key is never shown.

use std::io::Read as _;
use std::num::NonZeroU32;

use aes256ctr_poly1305aes::aead::{Aead, AeadInPlace, Nonce};
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key};
use rustic_core::repofile::MasterKey;
use rustic_core::{FileType, Id};
use sha2::{Digest, Sha256};

use super::limits;

const NONCE: usize = 16;
/// Nonce and authentication tag.
pub(super) const OVERHEAD: usize = 32;
/// First byte of a compressed file. A file without compression begins with `{` or `[`.
const COMPRESSED: u8 = 2;

/// The reason why a file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error("it cannot be decrypted")]
    Sealed,
    #[error("it is neither JSON nor compressed as restic does it")]
    Compression,
    #[error("its content is longer than {limit} bytes")]
    TooLong { limit: usize },
}

#[derive(Clone)]
pub(super) struct Cipher(Aes256CtrPoly1305Aes);

impl Cipher {
    pub(super) fn from_master(master: &MasterKey) -> Option<Self> {
        Self::from_bytes(&[&*master.encrypt, &*master.mac.k, &*master.mac.r].concat())
    }

    /// Takes 32 bytes of the encryption key and twice 16 bytes of the authentication key.
    pub(super) fn from_bytes(key: &[u8]) -> Option<Self> {
        const LENGTH: usize = 64;
        (key.len() == LENGTH).then(|| Self(Aes256CtrPoly1305Aes::new(Key::from_slice(key))))
    }

    pub(super) fn decrypt(&self, data: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = data.split_at_checked(NONCE)?;
        self.0.decrypt(Nonce::<Aes256CtrPoly1305Aes>::from_slice(nonce), rest).ok()
    }

    /// Encrypts under a new nonce; `None` if the system has no random bytes.
    pub(super) fn encrypt(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(data.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(data);
        let nonce = Nonce::<Aes256CtrPoly1305Aes>::from(nonce);
        let tag = self.0.encrypt_in_place_detached(&nonce, &[], sealed.get_mut(NONCE..)?).ok()?;
        sealed.extend_from_slice(&tag);
        Some(sealed)
    }

    /// Decrypts a file, and decompresses it up to the limit of its kind.
    pub(super) fn open_file(&self, kind: FileType, data: &[u8]) -> Result<Vec<u8>, OpenError> {
        let plain = self.decrypt(data).ok_or(OpenError::Sealed)?;
        match plain.split_first() {
            Some((b'{' | b'[', _)) => Ok(plain),
            Some((&COMPRESSED, compressed)) => {
                let limit = limits::file_bytes(kind);
                let mut out = Vec::new();
                let decoder = zstd::Decoder::new(compressed).map_err(|_| OpenError::Compression)?;
                decoder.take(limit as u64 + 1).read_to_end(&mut out).map_err(|_| OpenError::Compression)?;
                if out.len() > limit { Err(OpenError::TooLong { limit }) } else { Ok(out) }
            }
            _ => Err(OpenError::Compression),
        }
    }

    /// Compresses and encrypts a file. `level` comes from the repository's configuration; `None` means version 1, which
    /// has no compression.
    pub(super) fn seal_file(&self, json: &[u8], level: Option<i32>) -> Option<Vec<u8>> {
        match level {
            None => self.encrypt(json),
            Some(level) => {
                let mut plain = vec![COMPRESSED];
                zstd::stream::copy_encode(json, &mut plain, level).ok()?;
                self.encrypt(&plain)
            }
        }
    }

    /// Decrypts a blob and compares its content with its name. The caller has checked `uncompressed` against the limit
    /// of blobs, because so much memory is reserved.
    pub(super) fn open_blob(&self, id: &Id, data: &[u8], uncompressed: Option<NonZeroU32>) -> Option<Vec<u8>> {
        let plain = self.decrypt(data)?;
        let plain = match uncompressed {
            None => plain,
            Some(length) => zstd::bulk::decompress(&plain, usize::try_from(length.get()).ok()?).ok()?,
        };
        let whole = uncompressed.is_none_or(|length| plain.len() as u64 == u64::from(length.get()));
        (whole && hash(&plain) == *id).then_some(plain)
    }
}

pub(super) fn hash(data: &[u8]) -> Id {
    Id::new(Sha256::digest(data).into())
}
