//! Which engine is meant.

use corral_engine::paths;
use std::fmt;

/// An engine of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
pub enum Engine {
    /// That of the system: PID 1 and the engine daemon.
    #[value(name = "system-docker")]
    #[serde(rename = "system-docker")]
    System,
    /// The user's Docker.
    #[value(name = "docker")]
    #[serde(rename = "docker")]
    User,
}

impl Engine {
    /// The socket on which it serves its API.
    pub fn socket(self) -> &'static str {
        match self {
            Engine::System => paths::API_SOCKET,
            Engine::User => "/var/run/docker.sock",
        }
    }

    /// What to do where it does not answer.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Engine::System => {
                "PID 1 restarts its daemon; /var/log/system-docker.log shows why it ended"
            }
            Engine::User => {
                "`ros why docker` shows what it waits for, `ros service start docker` starts it if \
                 it was stopped"
            }
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Engine::System => "the system engine",
            Engine::User => "the user's Docker",
        })
    }
}
