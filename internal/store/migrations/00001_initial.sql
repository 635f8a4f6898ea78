-- +goose Up

CREATE TABLE IF NOT EXISTS user_groups (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(190) NOT NULL,
    multiplier BIGINT NOT NULL
);
CREATE UNIQUE INDEX user_groups_name ON user_groups (name);

CREATE TABLE IF NOT EXISTS models (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(190) NOT NULL,
    owned_by VARCHAR(190) NOT NULL,
    enabled SMALLINT NOT NULL,
    max_output_tokens BIGINT NOT NULL,
    price TEXT,
    compat TEXT
);
CREATE UNIQUE INDEX models_name ON models (name);

CREATE TABLE IF NOT EXISTS channels (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(190) NOT NULL,
    type VARCHAR(40) NOT NULL,
    enabled SMALLINT NOT NULL,
    priority BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    apis BIGINT NOT NULL,
    settings TEXT NOT NULL
);
CREATE UNIQUE INDEX channels_name ON channels (name);

CREATE TABLE IF NOT EXISTS channel_groups (
    channel_id BIGINT NOT NULL,
    group_id BIGINT NOT NULL,
    PRIMARY KEY (channel_id, group_id),
    CONSTRAINT channel_groups_channel FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE,
    CONSTRAINT channel_groups_group FOREIGN KEY (group_id) REFERENCES user_groups (id)
);
CREATE INDEX channel_groups_group_id ON channel_groups (group_id);

CREATE TABLE IF NOT EXISTS channel_models (
    channel_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    model VARCHAR(190) NOT NULL,
    upstream VARCHAR(190) NOT NULL,
    PRIMARY KEY (channel_id, position),
    CONSTRAINT channel_models_channel FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS endpoints (
    id BIGINT NOT NULL PRIMARY KEY,
    channel_id BIGINT NOT NULL,
    base_url TEXT NOT NULL,
    position BIGINT NOT NULL,
    CONSTRAINT endpoints_channel FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE
);
CREATE INDEX endpoints_channel_id ON endpoints (channel_id, position);

CREATE TABLE IF NOT EXISTS credentials (
    id BIGINT NOT NULL PRIMARY KEY,
    endpoint_id BIGINT NOT NULL,
    name VARCHAR(190) NOT NULL,
    api_key TEXT NOT NULL,
    enabled SMALLINT NOT NULL,
    priority BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    state VARCHAR(40) NOT NULL,
    state_reason TEXT NOT NULL,
    state_since BIGINT NOT NULL,
    CONSTRAINT credentials_endpoint FOREIGN KEY (endpoint_id) REFERENCES endpoints (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX credentials_name ON credentials (endpoint_id, name);

CREATE TABLE IF NOT EXISTS users (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(190) NOT NULL,
    role VARCHAR(40) NOT NULL,
    enabled SMALLINT NOT NULL
);
CREATE UNIQUE INDEX users_name ON users (name);

CREATE TABLE IF NOT EXISTS user_memberships (
    user_id BIGINT NOT NULL,
    group_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id),
    CONSTRAINT user_memberships_user FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT user_memberships_group FOREIGN KEY (group_id) REFERENCES user_groups (id)
);
CREATE INDEX user_memberships_group_id ON user_memberships (group_id);

CREATE TABLE IF NOT EXISTS tokens (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    name VARCHAR(190) NOT NULL,
    hash CHAR(64) NOT NULL,
    hint VARCHAR(40) NOT NULL,
    group_ids TEXT,
    models TEXT,
    networks TEXT,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT tokens_user FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_user_id ON tokens (user_id);

-- Two secondary indexes and no more: what else is asked of a request is in its
-- detail. No references: a request outlives what it was made with.
CREATE TABLE IF NOT EXISTS requests (
    id CHAR(26) NOT NULL PRIMARY KEY,
    started_at BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    token_id BIGINT NOT NULL,
    model VARCHAR(190) NOT NULL,
    channel_id BIGINT NOT NULL,
    credential_id BIGINT NOT NULL,
    status BIGINT NOT NULL,
    ended VARCHAR(40) NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX requests_user_started ON requests (user_id, started_at);
CREATE INDEX requests_started ON requests (started_at);

CREATE TABLE IF NOT EXISTS attempts (
    request_id CHAR(26) NOT NULL,
    number BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    channel_id BIGINT NOT NULL,
    credential_id BIGINT NOT NULL,
    model VARCHAR(190) NOT NULL,
    status BIGINT NOT NULL,
    cause VARCHAR(40) NOT NULL,
    duration_ms BIGINT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (request_id, number)
);

CREATE TABLE IF NOT EXISTS objects (
    id VARCHAR(190) NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    credential_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX objects_created ON objects (created_at);

CREATE TABLE IF NOT EXISTS audit (
    id BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor VARCHAR(190) NOT NULL,
    verb VARCHAR(190) NOT NULL,
    object_kind VARCHAR(40) NOT NULL,
    object_id BIGINT NOT NULL,
    object_name VARCHAR(190) NOT NULL,
    detail TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS settings (
    name VARCHAR(190) NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS versions (
    name VARCHAR(40) NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS changes (
    version BIGINT NOT NULL PRIMARY KEY,
    kind VARCHAR(40) NOT NULL,
    object_id BIGINT NOT NULL,
    at BIGINT NOT NULL
);

INSERT INTO user_groups (id, name, multiplier) VALUES (1, 'default', 1000000);
INSERT INTO versions (name, version) VALUES ('changes', 0);
