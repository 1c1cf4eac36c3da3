//! Opens key files with a password. Each key that the password opens is tried on `config`, because an init that was
//! killed may have left a key of another master. This file must not log or return a password.

use rustic_core::repofile::{ConfigFile, KeyFile, MasterKey};
use rustic_core::{FileType, Id};
use secrecy::{ExposeSecret, SecretString};

use super::cipher::{Cipher, hash};
use super::derive::{Cost, KEYS, cipher, derive};
use super::error::Error;
use super::store::{CONFIG, Store, path_of};

/// Cost of new key files: 32 MiB, the second choice of OWASP. The 128 MiB of `rustic_core` are too much for a container
/// in which a backup runs at the same time.
const COST: Cost = Cost { log_n: 15, r: 8, p: 3 };
/// A key file asking for more memory than this is not opened (it would take the worker down): 1 GiB.
const MOST_MEMORY: u64 = 1 << 30;

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

pub(super) fn unlock(store: &Store, password: &SecretString) -> Result<Unlocked, Error> {
    let config = store.read(CONFIG)?;
    let mut opened_by_password = false;
    for (id, _) in store.list(FileType::Key)? {
        let file = match store.read(&path_of(FileType::Key, &id)).map_err(Error::from) {
            Ok(file) => file,
            Err(error) if error.is_missing_file() => continue,
            Err(error) => return Err(error),
        };
        let Ok(key) = serde_json::from_slice::<KeyFile>(&file) else {
            tracing::warn!(key = %id, "key file cannot be read and is skipped");
            continue;
        };
        let Some(master) = master_of(&key, bytes_of(password)) else { continue };
        opened_by_password = true;
        let Some(cipher) = Cipher::from_master(&master) else { continue };
        if let Some(json) = cipher.open_file(&config) {
            let config = parse_config(store.location(), &json)?;
            return Ok(Unlocked { master, cipher, config });
        }
        tracing::warn!(key = %id, "key of another repository is skipped");
    }
    let location = store.location().to_owned();
    if opened_by_password {
        Err(Error::Damaged { detail: format!("`config` of `{location}` belongs to none of its keys") })
    } else {
        Err(Error::WrongPassword { location })
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

fn master_of(key: &KeyFile, password: &[u8]) -> Option<MasterKey> {
    let memory = 128 * u64::from(key.n) * u64::from(key.r);
    if key.kdf != "scrypt" || !key.n.is_power_of_two() || memory > MOST_MEMORY {
        return None;
    }
    let log_n = u8::try_from(key.n.trailing_zeros()).ok()?;
    let cost = Cost { log_n, r: key.r, p: key.p };
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
