//! Tells a UPS to cut its load and to return with the mains.
//!
//! The one step that takes power from hosts. It is sent once: where its answer is lost, nobody knows whether the driver has
//! it, and the step ends as one whose deadline passed; only what upsd or the driver refused may be tried again.

use std::time::Duration;

use crate::clients::nut::{Credentials, Endpoint, NutClient};
use crate::config::Ups;
use crate::plan::step::Outcome;
use crate::telemetry::chain;

/// Connects, asks once more whether the UPS knows the command, and sends it.
pub async fn cut_load(ups: &Ups, limit: Duration) -> Outcome {
    let Some(cut) = &ups.cut_load else {
        return Outcome::Refused { evidence: format!("{} has no cut_load", ups.nut_name) };
    };
    let credentials = match credentials(ups).await {
        Ok(credentials) => credentials,
        Err(why) => return Outcome::Failed { why },
    };
    let mut endpoint = Endpoint::new(ups.host.clone(), ups.port);
    let share = limit / 4;
    let mut client = match NutClient::connect(&mut endpoint, None, share).await {
        Ok(client) => client,
        Err(error) => return Outcome::Failed { why: chain(&error).to_string() },
    };
    match client.list_commands(&ups.nut_name, share).await {
        Ok(commands) if commands.contains(&cut.command) => {}
        Ok(_) => {
            let evidence = format!("upsd at {endpoint} does not list {} for {}", cut.command, ups.nut_name);
            return Outcome::Refused { evidence };
        }
        Err(error) => return Outcome::Failed { why: chain(&error).to_string() },
    }
    match client.instant_command(&credentials, (&ups.nut_name, &cut.command), share).await {
        Ok(()) => Outcome::Tried,
        Err(error) if error.is_in_doubt() => Outcome::DeadlinePassed,
        Err(error) => Outcome::Failed { why: chain(&error).to_string() },
    }
}

/// Reads the password anew, as the watching does.
async fn credentials(ups: &Ups) -> Result<Credentials, String> {
    let (Some(username), Some(path)) = (ups.username.clone(), ups.password_file.clone()) else {
        return Err(format!("{} has no username and password_file", ups.nut_name));
    };
    let shown = path.display().to_string();
    match tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await {
        Ok(Ok(text)) => Ok(Credentials::new(username, &text)),
        Ok(Err(error)) => Err(format!("{shown} cannot be read: {error}")),
        Err(_) => Err(format!("{shown} cannot be read")),
    }
}
