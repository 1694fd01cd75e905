//! The cluster's identity and its replicated settings.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::{journal, json};
use crate::error::Error;
use crate::feature;
use crate::state::halt::{AnswerOrHalt, Halt};
use crate::state::outcome::Answer;
use crate::state::settings::Settings;
use crate::state::stage::Stage;
use crate::state::system;
use crate::state::view::{
    CLUSTER_DOC, ClusterDoc, ClusterIdentity, FEATURE_DOC, FeatureDoc, SETTINGS_DOC, SettingsDoc,
};

pub(super) fn initialize(
    stage: &mut Stage<'_>,
    cluster_id: &str,
    token_key: &[u8],
    settings: &Settings,
    feature_level: u64,
) -> Result<Answer, AnswerOrHalt> {
    if let Some(cluster) = &stage.core.cluster {
        if cluster.cluster_id == cluster_id {
            return Ok(Answer::Done { changed: false });
        }
        let message = format!("the cluster has the id {} already; nothing is to be done", cluster.cluster_id);
        return Err(Error::conflict(message).into());
    }
    let doc = ClusterDoc {
        id: CLUSTER_DOC.to_owned(),
        cluster_id: cluster_id.to_owned(),
        token_key: base64::engine::general_purpose::STANDARD.encode(token_key),
    };
    stage.save(system::SETTINGS, CLUSTER_DOC, json(&doc)?)?;
    let identity = ClusterIdentity { cluster_id: cluster_id.to_owned(), token_key: token_key.to_vec() };
    stage.core.cluster = Some(Arc::new(identity));
    journal::created(stage, cluster_id)?;
    write_settings(stage, settings)?;
    set_feature_level(stage, feature_level)?;
    Ok(Answer::Done { changed: true })
}

pub(super) fn change_settings(stage: &mut Stage<'_>, changes: &Map<String, Value>) -> Result<Answer, AnswerOrHalt> {
    let settings = stage.core.settings.with(changes)?;
    set_settings(stage, &settings)
}

pub(super) fn raise_feature_level(stage: &mut Stage<'_>, level: u64) -> Result<Answer, AnswerOrHalt> {
    let changed = set_feature_level(stage, level)?;
    if changed {
        journal::upgraded(stage, level)?;
    }
    Ok(Answer::Done { changed })
}

/// A version that does not support the level halts: it must not serve what it may not understand.
fn set_feature_level(stage: &mut Stage<'_>, level: u64) -> Result<bool, AnswerOrHalt> {
    feature::check(level, "the cluster").map_err(|what| Halt::Level { what })?;
    if level <= stage.core.feature_level {
        return Ok(false);
    }
    let doc = FeatureDoc { id: FEATURE_DOC.to_owned(), level };
    stage.save(system::SETTINGS, FEATURE_DOC, json(&doc)?)?;
    stage.core.feature_level = level;
    Ok(true)
}

fn set_settings(stage: &mut Stage<'_>, settings: &Settings) -> Result<Answer, AnswerOrHalt> {
    let written = stage.live(system::SETTINGS, SETTINGS_DOC)?.is_some();
    if written && *stage.core.settings == *settings {
        return Ok(Answer::Done { changed: false });
    }
    let before = stage.core.settings.clone();
    write_settings(stage, settings)?;
    journal::settings(stage, &before, settings)?;
    Ok(Answer::Done { changed: true })
}

fn write_settings(stage: &mut Stage<'_>, settings: &Settings) -> Result<(), AnswerOrHalt> {
    let doc = SettingsDoc { id: SETTINGS_DOC.to_owned(), settings: settings.clone() };
    stage.save(system::SETTINGS, SETTINGS_DOC, json(&doc)?)?;
    stage.core.settings = Arc::new(settings.clone());
    Ok(())
}
