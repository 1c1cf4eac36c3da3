//! Prints the sample database as SQL for the `mariadb` client: `sample-db --megabytes N --seed S`; with `--changes` it
//! prints the later changes. The demo and the benchmark use it.

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result, bail};
use lagan_tests::sample::Sample;

const USAGE: &str = "usage: sample-db [--megabytes N] [--seed S] [--changes]";

enum What {
    Everything,
    Changes,
}

fn main() -> Result<()> {
    let (sample, what) = parse(std::env::args().skip(1))?;
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    match what {
        What::Everything => sample.write(&mut out),
        What::Changes => sample.write_changes(&mut out),
    }
    .and_then(|()| out.flush())
    .context("writing the sample")
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<(Sample, What)> {
    let mut sample = Sample { megabytes: 100, seed: 1 };
    let mut what = What::Everything;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--changes" => what = What::Changes,
            "--megabytes" | "--seed" => {
                let value = args.next().with_context(|| format!("{arg}: no value. {USAGE}"))?;
                let number = value.parse().with_context(|| format!("{arg} {value}"))?;
                if arg == "--seed" {
                    sample.seed = number;
                } else {
                    sample.megabytes = u32::try_from(number).context("too many megabytes")?;
                }
            }
            _ => bail!("`{arg}` is unknown. {USAGE}"),
        }
    }
    Ok((sample, what))
}
