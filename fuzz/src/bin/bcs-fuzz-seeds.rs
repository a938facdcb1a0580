//! `bcs-fuzz-seeds DIR`: writes what the product ships as inputs, for a fuzzer to begin with.

use std::{io, path::Path};

use bcs_fuzz::seed;

fn main() -> io::Result<()> {
    let dir = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: bcs-fuzz-seeds DIR"))?;
    let codec = Path::new(&dir).join("codec");
    std::fs::create_dir_all(&codec)?;
    for (name, input) in seed::payloads() {
        std::fs::write(codec.join(name), input)?;
    }
    Ok(())
}
