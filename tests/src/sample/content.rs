//! Words, times and blobs from a seed. It must not use the clock or random numbers of the system.

/// Texts that break string handling, escaped for SQL.
pub const ODD_NAMES: [&str; 8] = [
    "O\\'Brien \\\\ \\\"Ace\\\"",
    "línea\\nnueva\\ttab\\r\\nend",
    "👩‍👩‍👧‍👦 Family 🏳️‍🌈",
    "שלום עולם",
    "Ｆｕｌｌ ｗｉｄｔｈ 漢字",
    "e\u{301}\u{327} combined",
    "-- no comment; /*! DROP */ # $$ //",
    "\\0zero\\Zctrl-z %_",
];

pub const EVERY_BYTE: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 256 {
        bytes[at] = at.to_le_bytes()[0];
        at += 1;
    }
    bytes
};

const SYLLABLES: [&str; 24] = [
    "ka", "lo", "mi", "ren", "ta", "su", "vel", "dor", "ni", "pe", "ra", "ston", "bel", "gu", "ha", "lin", "mor", "fa",
    "ze", "tri", "wen", "os", "il", "que",
];
const COUNTRIES: [&str; 6] = ["DE", "FR", "JP", "BR", "KE", "CA"];

/// A splitmix64 generator: small, and the same on every platform.
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn word(&mut self) -> String {
        let syllables = 2 + self.below(3);
        (0..syllables).map(|_| self.pick(&SYLLABLES)).collect()
    }

    pub fn capital(&mut self) -> String {
        let mut word = self.word();
        word[..1].make_ascii_uppercase();
        word
    }

    pub fn country(&mut self) -> &'static str {
        self.pick(&COUNTRIES)
    }

    pub fn sentence(&mut self) -> String {
        let words = 4 + self.below(12);
        let words: Vec<_> = (0..words).map(|_| self.word()).collect();
        words.join(" ")
    }

    /// A valid `DATETIME(3)` in 2024.
    pub fn moment(&mut self) -> String {
        let (month, day) = (1 + self.below(12), 1 + self.below(28));
        let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
        let millis = self.below(1000);
        format!("2024-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}")
    }

    /// Incompressible bytes in hex.
    pub fn blob_hex(&mut self, bytes: u64) -> Vec<u8> {
        let mut blob = Vec::new();
        for _ in 0..bytes.div_ceil(8) {
            blob.extend(self.next().to_le_bytes());
        }
        hex(&blob)
    }

    /// Text in hex that compresses to about a third.
    pub fn text_hex(&mut self, bytes: u64) -> Vec<u8> {
        let mut text = String::new();
        while (text.len() as u64) < bytes {
            text.push_str(self.pick(&SYLLABLES));
            if self.below(4) == 0 {
                text.push(' ');
            }
        }
        hex(text.as_bytes())
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        let at = self.next() % list.len() as u64;
        list[usize::try_from(at).unwrap_or(0)]
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Upper-case hex, as `mariadb-dump --hex-blob` writes it.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Vec::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}
