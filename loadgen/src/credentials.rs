//! Who the clients log in as: a numbered range with one password, or a file. No session is opened here.

use std::path::Path;

use wire::soupbintcp::pad_right;

use crate::client::Credentials;

/// SoupBinTCP user names have six characters.
const USERNAME_LENGTH: usize = 6;

/// `C` and 1 give `C00001`: the prefix, and the number filled up with zeros to six characters.
pub fn numbered_user(prefix: &str, number: usize) -> Option<String> {
    let width = USERNAME_LENGTH.checked_sub(prefix.len())?;
    let user = format!("{prefix}{number:0width$}");
    (user.len() == USERNAME_LENGTH).then_some(user)
}

/// `count` accounts from `first` on, which share a password.
pub fn numbered(
    prefix: &str,
    first: usize,
    count: usize,
    password: &str,
) -> Result<Vec<Credentials>, String> {
    let password = password_field(password)?;
    (first..first + count)
        .map(|number| {
            let user = numbered_user(prefix, number).ok_or_else(|| {
                format!(
                    "--user-prefix {prefix}: user number {number} does not fit into six characters; \
                     expected a prefix such as C, which gives C00001, C00002, ..."
                )
            })?;
            Ok(Credentials { username: user_field(&user)?, password })
        })
        .collect()
}

/// The first `count` lines `user,password` of a file; empty lines and those that start with `#` are skipped.
pub fn from_file(path: &Path, count: usize) -> Result<Vec<Credentials>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut accounts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || accounts.len() == count {
            continue;
        }
        let place = format!("{}, line {}", path.display(), index + 1);
        let (user, password) = line
            .split_once(',')
            .ok_or_else(|| format!("{place}: expected `user,password`, found `{line}`"))?;
        let username = user_field(user.trim()).map_err(|error| format!("{place}: {error}"))?;
        let password = password_field(password.trim()).map_err(|error| format!("{place}: {error}"))?;
        accounts.push(Credentials { username, password });
    }
    if accounts.len() < count {
        return Err(format!(
            "{} has {} accounts, {count} clients need one each",
            path.display(),
            accounts.len()
        ));
    }
    Ok(accounts)
}

fn user_field(user: &str) -> Result<[u8; USERNAME_LENGTH], String> {
    let field = if user.is_empty() { None } else { pad_right(user) };
    field.ok_or_else(|| format!("user name `{user}`: expected one to six printable characters"))
}

fn password_field(password: &str) -> Result<[u8; 10], String> {
    // The password itself does not belong into an error message.
    pad_right(password).ok_or_else(|| "password: expected at most ten printable characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbered_to_six_characters() {
        let accounts = numbered("C", 1, 3, "secret").unwrap();
        let users: Vec<String> = accounts.iter().map(Credentials::user).collect();
        assert_eq!(users, ["C00001", "C00002", "C00003"]);
        assert_eq!(&accounts[0].password, b"secret    ");
        assert!(numbered("ABCDE", 9, 2, "x").is_err(), "number 10 does not fit");
        assert!(numbered("TOOLONG", 1, 1, "x").is_err());
        assert!(numbered("C", 1, 1, "longer than ten").is_err());
    }

    #[test]
    fn files_name_the_line_that_is_wrong_and_have_to_suffice() {
        let path = std::env::temp_dir().join(format!("pitlane-accounts-{}", std::process::id()));
        std::fs::write(&path, "# accounts\nALICE, one\n\nBOB,two\nnonsense\n").unwrap();
        let accounts = from_file(&path, 2).unwrap();
        assert_eq!((accounts[0].user().as_str(), &accounts[1].password), ("ALICE", b"two       "));
        assert!(from_file(&path, 3).err().unwrap().contains("line 5"));
        std::fs::write(&path, "ALICE,one\n").unwrap();
        let short = from_file(&path, 2).err().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(short.contains("has 1 accounts, 2 clients"), "{short}");
    }
}
