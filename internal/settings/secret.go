package settings

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"realms/internal/store"
)

// secretBytes is the length of the instance's secret.
const secretBytes = 32

// InstanceSecret is what this installation keys its hashes with: 32 random bytes,
// made at the first call of any of its processes, and in the store from then on. A
// backup carries them; nothing shows or changes them.
func (s *Service) InstanceSecret(ctx context.Context) ([]byte, error) {
	text, err := s.store.Read().Settings.Get(ctx, store.InstanceSecret)
	if errors.Is(err, store.ErrNotFound) {
		text, err = s.makeSecret(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read the instance's secret: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(secret) != secretBytes {
		return nil, errors.New("the instance's secret in the store is damaged") // not how: an error of the decoder quotes it
	}
	return secret, nil
}

// makeSecret stores a secret unless another process was first, and reads what is
// stored only afterwards: a transaction may not see what ended after its start.
func (s *Service) makeSecret(ctx context.Context) (string, error) {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	err := s.store.Tx(ctx, func(r store.Repos) error {
		return r.Settings.Add(ctx, store.InstanceSecret, base64.StdEncoding.EncodeToString(secret))
	})
	if err != nil {
		return "", err
	}
	return s.store.Read().Settings.Get(ctx, store.InstanceSecret)
}
