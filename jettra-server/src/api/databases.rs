//! Databases and collections.

use std::sync::Arc;

use jettra_client::wire::{DatabaseInfo, StatusAnswer};
use serde::Deserialize;

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::error::{Error, Result};
use crate::state::{CollectionName, Command, DatabaseName, Op};

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/dbs", Access::Role(Role::Reader), Read, [], "the databases, by name", list),
    route!(POST "/api/dbs", Access::Role(Role::Owner), Write, [], "makes a database", create),
    route!(DELETE "/api/dbs", Access::Role(Role::Owner), Write, ["name"], "drops a database", delete),
    route!(POST "/api/dbs/rename", Access::Role(Role::Owner), Write, [], "renames a database", rename),
    route!(GET "/api/dbs/{db}/cols", Access::Role(Role::Reader), Read, [], "a database's collections", collections),
    route!(POST "/api/cols", Access::Role(Role::Owner), Write, [], "makes a collection", create_collection),
    route!(DELETE "/api/cols", Access::Role(Role::Owner), Write, ["database", "collection"], "drops a collection", delete_collection),
    route!(POST "/api/cols/rename", Access::Role(Role::Owner), Write, [], "renames a collection", rename_collection),
];

async fn list(app: &Arc<App>, request: Request) -> Result<Answer> {
    let index = request.ready_to_read(app).await?;
    let admin = request.principal.role == Role::Admin;
    let databases = app.cluster.state()?.list_databases();
    let shown: Vec<DatabaseInfo> =
        databases.into_iter().filter(|db| admin || db.name != crate::state::names::SYSTEM_DATABASE).collect();
    Ok(Answer::json(&shown)?.index(index))
}

async fn collections(app: &Arc<App>, request: Request) -> Result<Answer> {
    let index = request.ready_to_read(app).await?;
    let name = request.path.strip_prefix("/api/dbs/").and_then(|rest| rest.strip_suffix("/cols")).unwrap_or_default();
    let database = DatabaseName::parse(name)?;
    let admin = request.principal.role == Role::Admin;
    if database.is_system() && !admin {
        return Answer::json(&Vec::<String>::new());
    }
    let names = app.cluster.state()?.list_collections(&database);
    let shown: Vec<&str> = names.iter().map(|n| n.as_str()).filter(|name| admin || !name.starts_with('_')).collect();
    Ok(Answer::json(&shown)?.index(index))
}

/// Proposes a command on the catalog and answers `status`.
async fn run(app: &Arc<App>, request: &Request, op: Op, status: &str) -> Result<Answer> {
    let command = Command { request: request.key()?, op };
    let done = app.cluster.write(&request.call, &command).await?;
    done.outcome.into_result()?;
    let answer = Answer::json(&StatusAnswer { status: status.to_owned(), rev: None })?;
    Ok(answer.index(done.index))
}

#[derive(Deserialize)]
struct NewDatabase {
    name: Option<String>,
    engine: Option<String>,
}

fn required(value: Option<String>, name: &str) -> Result<String> {
    value.ok_or_else(|| Error::bad_request(format!("{name} is missing from the body")))
}

async fn create(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: NewDatabase = request.json()?;
    let name = DatabaseName::parse(&required(body.name, "name")?)?;
    name.check_creatable()?;
    run(app, &request, Op::CreateDatabase { name, engine: body.engine }, "created").await
}

async fn delete(app: &Arc<App>, request: Request) -> Result<Answer> {
    let name = DatabaseName::parse(request.query.required("name")?)?;
    run(app, &request, Op::DeleteDatabase { name }, "deleted").await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rename {
    database: Option<String>,
    old_name: Option<String>,
    new_name: Option<String>,
}

async fn rename(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Rename = request.json()?;
    let from = DatabaseName::parse(&required(body.old_name, "oldName")?)?;
    let to = DatabaseName::parse(&required(body.new_name, "newName")?)?;
    to.check_creatable()?;
    run(app, &request, Op::RenameDatabase { from, to }, "renamed").await
}

#[derive(Deserialize)]
struct NewCollection {
    database: Option<String>,
    collection: Option<String>,
}

async fn create_collection(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: NewCollection = request.json()?;
    let db = DatabaseName::parse(&required(body.database, "database")?)?;
    let name = CollectionName::parse(&required(body.collection, "collection")?)?;
    name.check_creatable()?;
    run(app, &request, Op::CreateCollection { db, name }, "created").await
}

async fn delete_collection(app: &Arc<App>, request: Request) -> Result<Answer> {
    let db = DatabaseName::parse(request.query.required("database")?)?;
    let name = CollectionName::parse(request.query.required("collection")?)?;
    run(app, &request, Op::DeleteCollection { db, name }, "deleted").await
}

async fn rename_collection(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Rename = request.json()?;
    let db = DatabaseName::parse(&required(body.database, "database")?)?;
    let from = CollectionName::parse(&required(body.old_name, "oldName")?)?;
    let to = CollectionName::parse(&required(body.new_name, "newName")?)?;
    to.check_creatable()?;
    run(app, &request, Op::RenameCollection { db, from, to }, "renamed").await
}
