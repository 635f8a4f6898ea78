-- +goose Up
-- How a credential and a channel's model differ from what is usual: JSON, or
-- NULL where they do not.
ALTER TABLE credentials ADD COLUMN limits TEXT;
ALTER TABLE channel_models ADD COLUMN settings TEXT;
