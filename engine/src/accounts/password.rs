//! Argon2 hashes of passwords: made for the configuration, checked at a login. Not when and for whom: that is `verify`.

use argon2::PasswordHasher;
use argon2::password_hash::phc::Output;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use wire::soupbintcp::canonical;

/// Memory that one hash may take: each thread that verifies needs as much.
pub const MAX_MEMORY_KIB: u32 = 256 << 10;
/// A hash of less work than this (KiB times passes) is checked again sooner than its result is remembered.
const COSTLY_KIB: u64 = 4096;

/// Checks passwords, and keeps the memory that takes from one time to the next: what a hash touches is not given back to the
/// system and fetched again, which would make every thread of the process wait for its address space.
#[derive(Default)]
pub struct Checker {
    memory: Vec<Block>,
}

impl Checker {
    /// Whether it is the password of this PHC string; false also for a string that is none.
    pub fn is_correct(&mut self, hash: &str, password: &[u8; 10]) -> bool {
        self.check(hash, password).unwrap_or(false)
    }

    fn check(&mut self, hash: &str, password: &[u8; 10]) -> argon2::password_hash::Result<bool> {
        let parsed = PasswordHash::new(hash)?;
        let (Some(salt), Some(expected)) = (parsed.salt, parsed.hash) else { return Ok(false) };
        let params = Params::try_from(&parsed)?;
        if params.m_cost() > MAX_MEMORY_KIB {
            return Ok(false);
        }
        let blocks = params.block_count();
        if self.memory.len() < blocks {
            self.memory.resize(blocks, Block::default());
        }
        let version = parsed.version.map(Version::try_from).transpose()?.unwrap_or_default();
        let hasher = Argon2::new(Algorithm::try_from(parsed.algorithm.as_str())?, version, params);
        let password = canonical(*password);
        let memory = &mut self.memory[..blocks];
        let mut bytes = [0; Output::MAX_LENGTH];
        let out = &mut bytes[..expected.len()];
        hasher.hash_password_into_with_memory(password.trim_ascii_end(), &salt, out, memory)?;
        let found = Output::new(out)?;
        // Compares in constant time.
        Ok(found == expected)
    }

    /// Gives the memory back, as after a while in which nobody logged in.
    pub fn rest(&mut self) {
        self.memory = Vec::new();
    }
}

fn parameters(hash: &str) -> argon2::password_hash::Result<Params> {
    Params::try_from(&PasswordHash::new(hash)?)
}

/// Whether a check of this hash is dear enough for its result to be remembered.
pub fn is_costly(hash: &str) -> bool {
    parameters(hash).is_ok_and(|params| u64::from(params.m_cost()) * u64::from(params.t_cost()) >= COSTLY_KIB)
}

/// What is wrong with a PHC string, if anything.
pub fn problem(hash: &str) -> Option<String> {
    match parameters(hash) {
        Err(cause) => Some(format!("not a PHC string of Argon2 ({cause})")),
        Ok(params) if params.m_cost() > MAX_MEMORY_KIB => {
            Some(format!("{} KiB for one verification; at most {MAX_MEMORY_KIB}", params.m_cost()))
        }
        Ok(_) => None,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("the password has {0} characters; SoupBinTCP carries 1 to 10")]
    Length(usize),
    #[error("the password has a character outside printable ASCII, which SoupBinTCP cannot carry")]
    Character,
    #[error("{0} KiB for one verification; at most {MAX_MEMORY_KIB}")]
    Memory(u32),
    #[error("no random salt: {0}")]
    Random(getrandom::Error),
    #[error("hashing failed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A PHC string for the configuration. `memory_kib` and `iterations` set its cost.
pub fn hash_password(password: &str, memory_kib: u32, iterations: u32) -> Result<String, HashError> {
    if password.is_empty() || password.len() > 10 {
        return Err(HashError::Length(password.chars().count()));
    }
    if !password.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HashError::Character);
    }
    if memory_kib > MAX_MEMORY_KIB {
        return Err(HashError::Memory(memory_kib));
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(HashError::Random)?;
    let params = Params::new(memory_kib, iterations, 1, None)
        .map_err(|cause| HashError::Hash(argon2::password_hash::Error::from(cause)))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    // Case-insensitive and padded on the right, as the protocol compares it.
    let canonical = canonical::<10>(crate::config::padded_bytes(password));
    Ok(hasher
        .hash_password_with_salt(canonical.trim_ascii_end(), &salt)
        .map_err(HashError::Hash)?
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::padded_bytes;

    #[test]
    fn a_hash_verifies_its_password_in_any_case_and_no_other() {
        let mut checker = Checker::default();
        // The memory of one check does not show in the next, of whatever size.
        for (memory_kib, iterations) in [(64, 1), (256, 2), (8, 1), (64, 3)] {
            let hash = hash_password("Secret7", memory_kib, iterations).unwrap();
            assert!(checker.is_correct(&hash, &padded_bytes("Secret7")));
            assert!(checker.is_correct(&hash, &padded_bytes("sECRET7")));
            assert!(!checker.is_correct(&hash, &padded_bytes("Secret8")));
        }
        checker.rest();
        assert!(!checker.is_correct("not a hash", &padded_bytes("Secret7")));
    }

    #[test]
    fn a_hash_of_other_parameters_is_checked_by_its_own() {
        use argon2::PasswordVerifier;
        let params = Params::new(64, 2, 2, Some(24)).unwrap();
        let hasher = Argon2::new(Algorithm::Argon2i, Version::V0x10, params);
        let hash = hasher.hash_password_with_salt(b"secret7", b"some salt of its own").unwrap().to_string();
        assert!(Argon2::default().verify_password(b"secret7", &PasswordHash::new(&hash).unwrap()).is_ok());
        assert!(Checker::default().is_correct(&hash, &padded_bytes("Secret7")));
        assert!(!Checker::default().is_correct(&hash, &padded_bytes("Secret8")));
    }

    #[test]
    fn passwords_that_the_protocol_cannot_carry_are_refused() {
        assert!(matches!(hash_password("", 64, 1), Err(HashError::Length(0))));
        assert!(matches!(hash_password("elevenchars", 64, 1), Err(HashError::Length(11))));
        assert!(matches!(hash_password("a b", 64, 1), Err(HashError::Character)));
        assert!(matches!(hash_password("ab", MAX_MEMORY_KIB + 1, 1), Err(HashError::Memory(_))));
    }

    #[test]
    fn a_hash_beyond_the_memory_that_a_thread_may_take_is_named() {
        let hash = "$argon2id$v=19$m=262145,t=1,p=1$WGGmBFc+1kDWx73m5fYdOQ$vBoEmSz3z4i9QULZxPXAaeLnJSoms8Ws4uPY0tiDOLk";
        assert!(problem(hash).is_some_and(|problem| problem.contains("262145 KiB")));
        assert!(!Checker::default().is_correct(hash, &padded_bytes("secret")));
        assert_eq!(problem(&hash.replace("262145", "8")), None);
        assert!(problem("$argon2id$").is_some());
    }
}
