//! Requests to an engine's admin port. Not what they ask.

use anyhow::Context;
use clap::Args;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Request, Response};

/// Longer than the engine takes to answer a command at worst.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A report of 64 shards is a tenth of it.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Whoever asks, as the audit log has it.
const ON_BEHALF_OF: &str = engine::admin::audit::ON_BEHALF_OF;

/// Where the engine is.
#[derive(Args)]
pub struct Target {
    /// The engine's admin port (admin.listen).
    #[arg(
        long,
        env = "PITLANE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:26480",
        global = true
    )]
    url: String,
}

/// What commands come with. There is no option for the token itself: everyone on the machine sees options.
#[derive(Args)]
pub struct Authorization {
    /// File that holds the admin token (admin.token).
    #[arg(long, env = "PITLANE_TOKEN_FILE", value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// The variable that holds the token, for who has no file.
const TOKEN_VARIABLE: &str = "PITLANE_ADMIN_TOKEN";

impl Authorization {
    fn token(&self) -> anyhow::Result<String> {
        let token = match &self.token_file {
            Some(path) => read_token(path)?,
            None => std::env::var(TOKEN_VARIABLE).ok().with_context(|| {
                format!("commands need the engine's admin.token: expected --token-file FILE, or {TOKEN_VARIABLE} set")
            })?,
        };
        let token = token.trim();
        let is_printable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        anyhow::ensure!(is_printable, "the token is empty or holds spaces; expected one word");
        Ok(token.to_owned())
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("--token-file {}", path.display()))
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Target {
    /// # Errors
    /// Nothing answers, or not in time: it is not known then whether a command was carried out.
    pub fn post(&self, path: &str, authorization: &Authorization) -> anyhow::Result<Answer> {
        let user = std::env::var("USER").unwrap_or_else(|_| "?".to_owned());
        let mut request = Request::post(format!("{}{path}", self.base()))
            .header("Authorization", format!("Bearer {}", authorization.token()?));
        // A name that no header can hold is not said.
        if user.bytes().all(|byte| byte.is_ascii_graphic()) {
            request = request.header(ON_BEHALF_OF, user);
        }
        let request = request.body("").with_context(|| self.expected())?;
        let response = agent().run(request).map_err(|error| self.unanswered(error))?;
        read(response)
    }

    fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    fn expected(&self) -> String {
        format!("--url is {:?}; expected one like http://127.0.0.1:26480", self.url)
    }

    fn unanswered(&self, error: ureq::Error) -> anyhow::Error {
        match error {
            // Nothing has been sent.
            ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                anyhow::anyhow!(
                    "NOT done: nothing answers at {}; is the engine running, and admin.listen set?",
                    self.url
                )
            }
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                anyhow::anyhow!(
                    "NOT done: nothing listens at {}; is the engine running, and admin.listen set?",
                    self.url
                )
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => anyhow::anyhow!("{}: {error}", self.expected()),
            other => anyhow::anyhow!(
                "NOT KNOWN whether done: {}: {other}; the engine's log has what came of it",
                self.url
            ),
        }
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        // The token goes to the engine and nowhere else.
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .build();
    config.into()
}

fn read(response: Response<ureq::Body>) -> anyhow::Result<Answer> {
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    body.into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).context("the answer breaks off")?;
    Ok(Answer { status: parts.status.as_u16(), body: String::from_utf8_lossy(&bytes).into_owned() })
}
