//! Where the daemon keeps its things and where the command line finds it.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The state directory of root and of the packaged service.
const SYSTEM_STATE: &str = "/var/lib/postern";
/// The runtime directory of the packaged service.
const SYSTEM_RUN: &str = "/run/postern";
/// Name of the control socket.
const SOCKET: &str = "control.sock";

/// Reads an environment variable; tests give their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The state directory where the configuration names none: systemd's, root's, or the user's (XDG base directories).
pub fn state_dir(root: bool, env: Environment<'_>) -> PathBuf {
    if let Some(folder) = env("STATE_DIRECTORY") {
        // systemd gives several separated by colons; ours is the first.
        return PathBuf::from(folder.split(':').next().unwrap_or_default());
    }
    if root {
        return PathBuf::from(SYSTEM_STATE);
    }
    user_state(env).unwrap_or_else(|| PathBuf::from(SYSTEM_STATE))
}

fn user_state(env: Environment<'_>) -> Option<PathBuf> {
    let base = env("XDG_STATE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env("HOME")?).join(".local/state")))?;
    Some(base.join("postern"))
}

/// The control socket where the configuration names none.
pub fn control_socket(state_dir: &Path, env: Environment<'_>) -> PathBuf {
    match env("RUNTIME_DIRECTORY") {
        Some(folder) => Path::new(folder.split(':').next().unwrap_or_default()).join(SOCKET),
        None => state_dir.join(SOCKET),
    }
}

/// Where the command line looks for a daemon, in order: told, the packaged service, this user's own, root's.
pub fn sockets(env: Environment<'_>) -> Vec<PathBuf> {
    if let Some(told) = env("POSTERN_SOCKET") {
        return vec![told.into()];
    }
    let user = user_state(env).map(|folder| folder.join(SOCKET));
    [Some(Path::new(SYSTEM_RUN).join(SOCKET)), user, Some(Path::new(SYSTEM_STATE).join(SOCKET))].into_iter().flatten().collect()
}

/// Makes the state directory if it is missing and private if it is not: it holds what decides whom the box trusts.
///
/// # Errors
/// It cannot be made, or it is no folder.
pub fn make_private(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = std::fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_follows_systemd_then_root_then_xdg() {
        let systemd = |name: &str| (name == "STATE_DIRECTORY").then(|| "/var/lib/private/postern:/var/lib/more".into());
        assert_eq!(state_dir(true, &systemd), Path::new("/var/lib/private/postern"));
        assert_eq!(state_dir(true, &|_| None), Path::new("/var/lib/postern"));
        let home = |name: &str| (name == "HOME").then(|| "/home/ann".into());
        assert_eq!(state_dir(false, &home), Path::new("/home/ann/.local/state/postern"));
        let xdg = |name: &str| (name == "XDG_STATE_HOME").then(|| "/x".into());
        assert_eq!(state_dir(false, &xdg), Path::new("/x/postern"));
    }

    #[test]
    fn the_command_line_looks_where_the_daemon_puts_its_socket() {
        let home = |name: &str| (name == "HOME").then(|| "/home/ann".to_owned());
        for root in [true, false] {
            assert!(sockets(&home).contains(&control_socket(&state_dir(root, &home), &home)));
        }
        let service = |name: &str| (name == "RUNTIME_DIRECTORY").then(|| "/run/postern".to_owned());
        assert!(sockets(&home).contains(&control_socket(Path::new("/var/lib/postern"), &service)));
    }
}
