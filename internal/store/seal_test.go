package store_test

import (
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// What is sealed is bound to its row, so an id that was taken is minted anew
// together with what is sealed for it.
func TestSealedInsertThatMeetsItsPrimaryKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		keys, err := secret.New(secret.NewKey(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s := storetest.OpenDSN(t, store.Options{DSN: storetest.DSN(t, engine), Keys: keys})
		if _, err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		ids := []realm.ID{10, 20, 30, 30, 31, 10, 11}
		s.SetMint(func(time.Time) realm.ID {
			id := ids[0]
			ids = ids[1:]
			return id
		})
		proxy := realm.Secret("test-" + "proxy")
		channels := []*realm.Channel{
			{Name: "a", Type: realm.OpenAICompatible, Settings: realm.ChannelSettings{Proxy: proxy}},
			{Name: "b", Type: realm.OpenAICompatible, Settings: realm.ChannelSettings{Proxy: proxy}},
		}
		endpoint := realm.Endpoint{ChannelID: 10, BaseURL: "https://api.example.com/v1"}
		credentials := []*realm.Credential{{EndpointID: 20, Name: "a", APIKey: "test-a"}, {EndpointID: 20, Name: "b", APIKey: "test-b"}}
		err = s.Tx(t.Context(), func(r store.Repos) error {
			if err := r.Channels.Insert(t.Context(), channels[0]); err != nil {
				return err
			}
			if err := r.Endpoints.Insert(t.Context(), &endpoint); err != nil {
				return err
			}
			for _, c := range credentials {
				if err := r.Credentials.Insert(t.Context(), c); err != nil {
					return err
				}
			}
			return r.Channels.Insert(t.Context(), channels[1])
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range credentials {
			if got, err := s.Read().Credentials.Get(t.Context(), c.ID); err != nil || got.APIKey != c.APIKey || c.ID != realm.ID(30+i) {
				t.Errorf("credential %d: %v", c.ID, err)
			}
		}
		for i, c := range channels {
			if got, err := s.Read().Channels.Get(t.Context(), c.ID); err != nil || got.Settings.Proxy != proxy || c.ID != realm.ID(10+i) {
				t.Errorf("channel %d: %v", c.ID, err)
			}
		}
		if len(ids) > 0 {
			t.Errorf("ids %v were not tried", ids)
		}
	})
}
