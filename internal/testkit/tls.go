package testkit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// TLSFault is what is wrong with an upstream's TLS.
type TLSFault int

// The faults of TLS.
const (
	TLSGood TLSFault = iota
	TLSExpired
	TLSWrongHost
	TLSSelfSigned // by nobody whom RootCAs trust
	TLSOld        // speaks TLS 1.0 and 1.1 alone
	TLSHang       // accepts and never shakes hands
	TLSReset      // resets in the middle of the handshake
)

// serverTLS makes a certificate for 127.0.0.1 and the pool that trusts it.
func serverTLS(t testing.TB, o Options) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("generate key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fake upstream"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	switch o.TLSFault {
	case TLSExpired:
		template.NotAfter = time.Now().Add(-24 * time.Hour)
	case TLSWrongHost:
		template.IPAddresses, template.DNSNames = nil, []string{"elsewhere.test"}
	default:
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatalf("create certificate: %v", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("parse certificate: %v", err)
	}
	pool := x509.NewCertPool()
	if o.TLSFault != TLSSelfSigned {
		pool.AddCert(leaf)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	if o.TLSFault == TLSOld {
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	return config, pool
}

// brokenHandshake plays the faults that never come to a handshake.
func brokenHandshake(ctx context.Context, c net.Conn, fault TLSFault) bool {
	switch fault {
	case TLSHang:
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
		_, _ = io.Copy(io.Discard, c)
		return true
	case TLSReset:
		hello := make([]byte, 16)
		_, _ = io.ReadFull(c, hello)
		reset(c)
		return true
	default:
		return false
	}
}
