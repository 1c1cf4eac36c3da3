//! Derives keys from passwords. Deriving is slow on purpose, and every session with the same repository and password
//! would pay that price again. A process therefore remembers the key of each key file that a password has opened. A
//! remembered key is worth as much as the password, which this process may read at any time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};

use super::cipher::Cipher;

const KEY_BYTES: usize = 64;
/// Number of remembered keys; the oldest is dropped first.
const REMEMBERED: usize = 256;

pub(super) static KEYS: KeyCache = KeyCache(Mutex::new(VecDeque::new()));

/// Derived keys, each with the hash of its password, salt and cost.
pub(super) struct KeyCache(Mutex<VecDeque<([u8; 32], SecretSlice<u8>)>>);

/// scrypt's parameters as they stand in a key file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub log_n: u8,
    pub r: u32,
    pub p: u32,
}

pub(super) fn derive(cost: Cost, password: &[u8], salt: &[u8]) -> Option<SecretSlice<u8>> {
    let mut key = vec![0; KEY_BYTES];
    scrypt::scrypt(password, salt, &scrypt::Params::new(cost.log_n, cost.r, cost.p).ok()?, &mut key).ok()?;
    Some(SecretSlice::from(key))
}

pub(super) fn cipher(key: &SecretSlice<u8>) -> Option<Cipher> {
    Cipher::from_bytes(key.expose_secret())
}

impl KeyCache {
    /// Calls `open` with the derived key and returns its result. A key that `open` accepts is not derived again.
    pub fn with_derived<T>(
        &self,
        cost: Cost,
        password: &[u8],
        salt: &[u8],
        open: impl FnOnce(&Cipher) -> Option<T>,
    ) -> Option<T> {
        let name = name(cost, password, salt);
        if let Some(known) = self.recall(&name) {
            return open(&known);
        }
        let key = derive(cost, password, salt)?;
        let opened = open(&cipher(&key)?)?;
        self.remember(name, key);
        Some(opened)
    }

    fn recall(&self, name: &[u8; 32]) -> Option<Cipher> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|(known, _)| known == name).and_then(|(_, key)| cipher(key))
    }

    fn remember(&self, name: [u8; 32], key: SecretSlice<u8>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|(known, _)| *known != name);
        if keys.len() >= REMEMBERED {
            keys.pop_front();
        }
        keys.push_back((name, key));
    }
}

fn name(cost: Cost, password: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([cost.log_n]);
    hash.update(cost.r.to_be_bytes());
    hash.update(cost.p.to_be_bytes());
    hash.update((salt.len() as u64).to_be_bytes());
    hash.update(salt);
    hash.update(password);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CHEAP: Cost = Cost { log_n: 4, r: 8, p: 1 };

    fn cache() -> KeyCache {
        KeyCache(Mutex::default())
    }

    #[test]
    fn a_key_is_remembered_once_it_has_opened_something_and_for_its_password_and_salt_only() {
        let cache = cache();
        let open = |password: &[u8], salt: &[u8], opens: bool| {
            cache.with_derived(CHEAP, password, salt, |_| opens.then_some(()))
        };
        let is_known = |password: &[u8], salt: &[u8]| cache.recall(&name(CHEAP, password, salt)).is_some();
        assert!(open(b"wrong", b"salt-1", false).is_none() && !is_known(b"wrong", b"salt-1"));
        assert!(open(b"right", b"salt-1", true).is_some() && is_known(b"right", b"salt-1"));
        assert!(!is_known(b"right", b"salt-2") && !is_known(b"1right", b"salt-"));
        // A remembered key must still open the file.
        assert!(open(b"right", b"salt-1", false).is_none());
    }

    #[test]
    fn only_a_limited_number_of_keys_is_remembered() {
        let cache = cache();
        for number in 0..=REMEMBERED {
            cache.remember(name(CHEAP, &number.to_be_bytes(), b"salt"), SecretSlice::from(vec![0; KEY_BYTES]));
        }
        assert_eq!(cache.0.lock().unwrap().len(), REMEMBERED);
        assert!(cache.recall(&name(CHEAP, &0_usize.to_be_bytes(), b"salt")).is_none());
    }
}
