//! SQL for a sample database, the same bytes for the same size and seed. It has objects that dumps often lose or damage:
//! blobs, emoji, views on views, triggers, routines, events, a sequence, generated columns, tables that refer to each
//! other. The SQL does not name the database: the client selects it.

mod content;

use std::io::{Result, Write};

pub use content::Random;
use content::{EVERY_BYTE, ODD_NAMES};

const SCHEMA: &str = include_str!("sample/schema.sql");
const LOGIC: &str = include_str!("sample/logic.sql");

// Rows of one round, which is about one megabyte.
const CUSTOMERS: u64 = 200;
const PRODUCTS: u64 = 30;
const ORDERS: u64 = 900;
const ATTACHMENTS: u64 = 12;
const ATTACHMENT_BYTES: u64 = 66_000;

/// Size and seed of a sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Approximate size of a dump with `--hex-blob`; at least 1.
    pub megabytes: u32,
    pub seed: u64,
}

impl Sample {
    pub fn write(self, out: &mut dyn Write) -> Result<()> {
        let mut random = Random::new(self.seed);
        out.write_all(SCHEMA.as_bytes())?;
        for round in 0..u64::from(self.megabytes.max(1)) {
            write_people(out, &mut random, round)?;
            write_products(out, &mut random, round)?;
            write_orders(out, &mut random, round)?;
            write_attachments(out, &mut random, round)?;
            out.write_all(b"COMMIT;\n")?;
        }
        out.write_all(LOGIC.as_bytes())
    }

    /// Writes some updates, inserts and deletes for a loaded sample, far below one percent of its bytes.
    pub fn write_changes(self, out: &mut dyn Write) -> Result<()> {
        let mut random = Random::new(self.seed ^ 0x00c0_ffee);
        writeln!(out, "SET NAMES utf8mb4;\nSTART TRANSACTION;")?;
        for _ in 0..20 {
            let (customer, product) = (1 + random.below(CUSTOMERS), 1 + random.below(PRODUCTS));
            let word = random.word();
            writeln!(
                out,
                "UPDATE customers SET note = 'called about {word} 📞' WHERE id = {customer};\n\
                 UPDATE products SET net = net + 0.25 WHERE id = {product};\n\
                 CALL place_order({customer}, {product}, {});",
                1 + random.below(9)
            )?;
        }
        write!(
            out,
            "DELETE FROM order_items WHERE order_id = {};\n\
             INSERT INTO attachments (order_id, file_name, content) VALUES (1, 'changed 🖼.bin', 0x",
            2 + random.below(ORDERS - 1)
        )?;
        out.write_all(&random.blob_hex(50_000))?;
        out.write_all(b");\nCOMMIT;\n")
    }
}

fn write_people(out: &mut dyn Write, random: &mut Random, round: u64) -> Result<()> {
    let ids = (round * CUSTOMERS + 1)..=((round + 1) * CUSTOMERS);
    let head = "INSERT INTO customers (id, email, name, country, note, default_address_id) VALUES";
    out.write_all(head.as_bytes())?;
    for (index, id) in ids.clone().enumerate() {
        let odd = random.below(20) == 0 || round == 0;
        let name = match ODD_NAMES.get(index) {
            Some(name) if odd => (*name).to_owned(),
            _ => format!("{} {}", random.capital(), random.capital()),
        };
        write!(
            out,
            "{}({id},'{}.{id}@example.org','{name}','{}','{}',{id})",
            separator(index),
            random.word(),
            random.country(),
            random.sentence(),
        )?;
    }
    out.write_all(b";\nINSERT INTO addresses (id, customer_id, street, city, postcode) VALUES")?;
    for (index, id) in ids.enumerate() {
        write!(
            out,
            "{}({id},{id},'{} {}','{}','{:05}')",
            separator(index),
            random.capital(),
            1 + random.below(200),
            random.capital(),
            random.below(100_000),
        )?;
    }
    out.write_all(b";\n")
}

fn write_products(out: &mut dyn Write, random: &mut Random, round: u64) -> Result<()> {
    out.write_all(b"INSERT INTO products (id, sku, name, net, attributes) VALUES")?;
    for index in 0..PRODUCTS {
        let id = round * PRODUCTS + index + 1;
        let sku = random.below(1 << 30);
        write!(
            out,
            "{}({id},'{sku:08x}-{id}','{} {} ☕',{}.{:02},'{{\"colour\":\"{}\",\"sizes\":[{},{}]}}')",
            separator(usize::try_from(index).unwrap_or(1)),
            random.capital(),
            random.word(),
            random.below(900),
            random.below(100),
            random.word(),
            random.below(50),
            random.below(50),
        )?;
    }
    out.write_all(b";\n")
}

fn write_orders(out: &mut dyn Write, random: &mut Random, round: u64) -> Result<()> {
    let ids = (round * ORDERS + 1)..=((round + 1) * ORDERS);
    out.write_all(b"INSERT INTO orders (id, customer_id, ordered_at, status, weight_kg) VALUES")?;
    for (index, id) in ids.clone().enumerate() {
        write!(
            out,
            "{}({id},{},'{}',{},{}.{:03})",
            separator(index),
            1 + random.below((round + 1) * CUSTOMERS),
            random.moment(),
            1 + random.below(4),
            random.below(40),
            random.below(1000),
        )?;
    }
    let head = ";\nINSERT INTO order_items (order_id, line, product_id, quantity, price) VALUES";
    out.write_all(head.as_bytes())?;
    for (index, id) in ids.enumerate() {
        for line in 1..=(1 + id % 5) {
            write!(
                out,
                "{}({id},{line},{},{},{}.{:02})",
                separator(if line == 1 { index } else { 1 }),
                1 + random.below((round + 1) * PRODUCTS),
                1 + random.below(12),
                random.below(900),
                random.below(100),
            )?;
        }
    }
    out.write_all(b";\n")
}

fn write_attachments(out: &mut dyn Write, random: &mut Random, round: u64) -> Result<()> {
    out.write_all(b"INSERT INTO attachments (order_id, file_name, content) VALUES")?;
    for index in 0..ATTACHMENTS {
        let order = round * ORDERS + 1 + random.below(ORDERS);
        let name = random.word();
        let before = separator(usize::try_from(index).unwrap_or(1));
        write!(out, "{before}({order},'{name}-{round}-{index} 📎.bin',0x")?;
        let hex = if round == 0 && index == 0 {
            content::hex(&EVERY_BYTE)
        } else {
            let bytes = 4000 + random.below(ATTACHMENT_BYTES);
            // Half of the attachments are text.
            if index % 2 == 0 { random.blob_hex(bytes) } else { random.text_hex(bytes) }
        };
        out.write_all(&hex)?;
        out.write_all(b")")?;
    }
    out.write_all(b";\n")
}

fn separator(index: usize) -> &'static str {
    if index == 0 { "\n" } else { ",\n" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn size_and_bytes_follow_from_megabytes_and_seed() {
        let generate = |megabytes, seed| {
            let mut sql = Vec::new();
            Sample { megabytes, seed }.write(&mut sql).unwrap();
            sql
        };
        let three = generate(3, 7);
        assert_eq!(three, generate(3, 7));
        assert_ne!(three, generate(3, 8));
        let megabytes = three.len() / 100_000;
        assert!((27..=33).contains(&megabytes), "{megabytes} * 100 kB");
    }
}
