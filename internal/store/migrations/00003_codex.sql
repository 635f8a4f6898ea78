-- +goose Up

-- The accounts that are signed in for credentials of codex_oauth channels. Tokens
-- are JSON, sealed where there is a master key. The lease says who is renewing
-- them, and until when that is believed.
CREATE TABLE IF NOT EXISTS codex_accounts (
    credential_id BIGINT NOT NULL PRIMARY KEY,
    account_id VARCHAR(190) NOT NULL,
    person_id VARCHAR(190) NOT NULL,
    email VARCHAR(190) NOT NULL,
    plan VARCHAR(190) NOT NULL,
    tokens TEXT NOT NULL,
    version BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    signed_in_at BIGINT NOT NULL,
    refreshed_at BIGINT NOT NULL,
    refresh_error TEXT NOT NULL,
    limits TEXT,
    limits_at BIGINT NOT NULL,
    lease_holder VARCHAR(40) NOT NULL,
    lease_until BIGINT NOT NULL,
    CONSTRAINT codex_accounts_credential FOREIGN KEY (credential_id) REFERENCES credentials (id) ON DELETE CASCADE
);

-- Sign-ins that were begun. The state is kept as its hash; the secret is what
-- ends the sign-in beside it: a PKCE verifier, or a device's id.
CREATE TABLE IF NOT EXISTS codex_signins (
    state CHAR(64) NOT NULL PRIMARY KEY,
    kind VARCHAR(40) NOT NULL,
    actor VARCHAR(190) NOT NULL,
    credential_id BIGINT NOT NULL,
    replaces SMALLINT NOT NULL,
    user_code VARCHAR(190) NOT NULL,
    secret TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    CONSTRAINT codex_signins_credential FOREIGN KEY (credential_id) REFERENCES credentials (id) ON DELETE CASCADE
);
CREATE INDEX codex_signins_expires ON codex_signins (expires_at);
CREATE INDEX codex_signins_credential_id ON codex_signins (credential_id);
