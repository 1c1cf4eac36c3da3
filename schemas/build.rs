//! Lists the files of `catalogue/`, so that adding a database adds a file there and changes none.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    let directory = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("catalogue");
    println!("cargo::rerun-if-changed={}", directory.display());
    let entries = fs::read_dir(&directory).expect("the catalogue is a directory");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the catalogue can be listed").path()).collect();
    files.sort();
    let mut list = String::from("&[\n");
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let name = file.file_name().expect("a listed file has a name");
        writeln!(list, "    (\"catalogue/{}\", include_str!(r#\"{}\"#)),", name.display(), file.display())
            .expect("memory can be written to");
    }
    list.push_str("]\n");
    let out = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("catalogue.rs");
    fs::write(out, list).expect("the output directory can be written to");
}
