//! Opens key files with a password. Each key that the password opens is tried on `config`, because an init that was
//! killed may have left a key of another master. This file must not log or return a password.

use rustic_core::repofile::{ConfigFile, KeyFile, MasterKey};
use rustic_core::{FileType, Id};
use secrecy::{ExposeSecret, SecretString};

use super::cipher::{Cipher, hash};
use super::derive::{Cost, KEYS, cipher, derive};
use super::error::Error;
use super::limits;
use super::store::{CONFIG, Store, path_of};

/// Cost of new key files: 32 MiB, the second choice of OWASP. The 128 MiB of `rustic_core` are too much for a container
/// in which a backup runs at the same time.
const COST: Cost = Cost { log_n: 15, r: 8, p: 3 };
pub(super) struct Unlocked {
    pub(super) master: MasterKey,
    pub(super) cipher: Cipher,
    pub(super) config: ConfigFile,
}

/// The password without the trailing newline that a password file may have, as restic reads it.
fn bytes_of(password: &SecretString) -> &[u8] {
    let text = password.expose_secret();
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text).as_bytes()
}

/// The use that a password has for the keys of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// No key opens with the password.
    Wrong,
    /// A key opens, but `config` is not of its master.
    Foreign,
    /// Keys were skipped because of their cost or number.
    BeyondLimits,
}

pub(super) fn unlock(store: &Store, password: &SecretString) -> Result<Unlocked, Error> {
    let config = store.read(CONFIG, limits::file_bytes(FileType::Config))?;
    let mut verdict = Verdict::Wrong;
    let mut budget = limits::KEY_WORK;
    for (number, (id, _)) in store.list(FileType::Key)?.into_iter().enumerate() {
        store.check_stopped("open", store.location())?;
        let Some(key) = key_file(store, &id)? else { continue };
        let Some(cost) = (number < limits::KEYS).then(|| cost_of(&key, &mut budget)).flatten() else {
            tracing::warn!(key = %id, "key is skipped: deriving it costs too much, or there are too many keys");
            verdict = Verdict::BeyondLimits;
            continue;
        };
        let Some(master) = master_of(&key, cost, bytes_of(password)) else { continue };
        let Some(cipher) = Cipher::from_master(&master) else { continue };
        if let Ok(json) = cipher.open_file(FileType::Config, &config) {
            let config = parse_config(store.location(), &json)?;
            return Ok(Unlocked { master, cipher, config });
        }
        tracing::warn!(key = %id, "key of another repository is skipped");
        verdict = Verdict::Foreign;
    }
    let location = store.location().to_owned();
    Err(match verdict {
        Verdict::Wrong => Error::WrongPassword { location },
        Verdict::Foreign => Error::Damaged { detail: format!("`config` of `{location}` belongs to none of its keys") },
        Verdict::BeyondLimits => {
            let what = "keys that are too many, or that need too much memory or time to be opened".to_owned();
            Error::Unsupported { location, what }
        }
    })
}

/// Tells whether a key file opens with the password. Its repository may be gone.
pub(super) fn opens(store: &Store, id: &Id, password: &SecretString) -> Result<bool, Error> {
    let Some(key) = key_file(store, id)? else { return Ok(false) };
    let mut budget = limits::KEY_WORK;
    let master = cost_of(&key, &mut budget).and_then(|cost| master_of(&key, cost, bytes_of(password)));
    Ok(master.is_some())
}

/// Reads a key file; `None` if it is gone or is not one.
fn key_file(store: &Store, id: &Id) -> Result<Option<KeyFile>, Error> {
    match store.read(&path_of(FileType::Key, id), limits::file_bytes(FileType::Key)).map_err(Error::from) {
        Ok(file) => {
            let key = serde_json::from_slice(&file).ok();
            if key.is_none() {
                tracing::warn!(key = %id, "key file cannot be read and is skipped");
            }
            Ok(key)
        }
        Err(error) if error.is_missing_file() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a key file for `master`; returns its id and content.
pub(super) fn new_key(master: &MasterKey, password: &SecretString) -> Option<(Id, Vec<u8>)> {
    let mut salt = vec![0; 64];
    getrandom::fill(&mut salt).ok()?;
    let wrapping = cipher(&derive(COST, bytes_of(password), &salt)?)?;
    let data = wrapping.encrypt(&serde_json::to_vec(master).ok()?)?;
    let file = KeyFile {
        hostname: Some("lagan".to_owned()),
        username: None,
        created: Some(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC)),
        kdf: "scrypt".to_owned(),
        n: 1 << COST.log_n,
        r: COST.r,
        p: COST.p,
        data,
        salt,
    };
    let json = serde_json::to_vec(&file).ok()?;
    Some((hash(&json), json))
}

/// Reads the cost of a key and takes it from the budget; `None` if it is beyond the limits.
fn cost_of(key: &KeyFile, budget: &mut u64) -> Option<Cost> {
    let log_n = u8::try_from(key.n.trailing_zeros()).ok().filter(|_| key.kdf == "scrypt" && key.n.is_power_of_two())?;
    let memory = 128_u64.checked_mul(u64::from(key.n))?.checked_mul(u64::from(key.r))?;
    let left = budget.checked_sub(memory.checked_mul(u64::from(key.p))?)?;
    if memory > limits::KEY_MEMORY {
        return None;
    }
    *budget = left;
    Some(Cost { log_n, r: key.r, p: key.p })
}

fn master_of(key: &KeyFile, cost: Cost, password: &[u8]) -> Option<MasterKey> {
    KEYS.with_derived(cost, password, &key.salt, |wrapping| serde_json::from_slice(&wrapping.decrypt(&key.data)?).ok())
}

fn parse_config(location: &str, json: &[u8]) -> Result<ConfigFile, Error> {
    let unsupported = |what: String| Error::Unsupported { location: location.to_owned(), what };
    let value: serde_json::Value =
        serde_json::from_slice(json).map_err(|_| Error::Damaged { detail: "`config` is no JSON".to_owned() })?;
    let version = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if !(1..=2).contains(&version) {
        return Err(unsupported(format!("format version {version}")));
    }
    let config: ConfigFile = serde_json::from_value(value)
        .map_err(|error| Error::Damaged { detail: format!("`config` cannot be read: {error}") })?;
    match config.is_hot {
        Some(true) => Err(unsupported("the hot part of a hot/cold pair".to_owned())),
        _ => Ok(config),
    }
}
