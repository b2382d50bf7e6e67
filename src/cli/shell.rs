//! `postern completions` and `postern man`: made from the argument tree.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory as _;

use super::{Arguments, Failure};

pub(super) fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> Result<(), Failure> {
    // The generator panics where it cannot write: it gets memory.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "postern", &mut text);
    Ok(out.write_all(&text)?)
}

pub(super) fn man(folder: Option<&Path>, out: &mut dyn Write) -> Result<(), Failure> {
    let command = Arguments::command();
    match folder {
        None => Ok(clap_mangen::Man::new(command).render(&mut &mut *out)?),
        Some(folder) => Ok(clap_mangen::generate_to(command, folder)?),
    }
}
