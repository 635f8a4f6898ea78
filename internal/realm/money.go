package realm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Money is an amount in nano-US-dollars: 1 USD = 1 000 000 000. As a price it is
// per 1 000 000 tokens.
type Money int64

// ParseMoney reads a decimal number of US dollars from its text, exactly and
// never through a float: "1.25" is 1 250 000 000. More than nine decimals, an
// exponent, a negative amount or anything past int64 is an error.
func ParseMoney(text string) (Money, error) {
	n, err := parseDecimal(text, 9)
	return Money(n), err
}

// String is the shortest exact decimal text in US dollars, as ParseMoney reads it.
func (m Money) String() string { return formatDecimal(int64(m), 9) }

// PPM is a multiplier in parts per million: 1 000 000 is 1.0.
type PPM int64

// OnePPM is the multiplier that changes nothing.
const OnePPM PPM = 1_000_000

// ParsePPM reads a decimal multiplier from its text: "1.5" is 1 500 000.
func ParsePPM(text string) (PPM, error) {
	n, err := parseDecimal(text, 6)
	return PPM(n), err
}

func (p PPM) String() string { return formatDecimal(int64(p), 6) }

func parseDecimal(text string, places int) (int64, error) {
	whole, frac, _ := strings.Cut(text, ".")
	if text == "" || whole+frac == "" || strings.Trim(whole+frac, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a non-negative decimal number", text)
	}
	if len(frac) > places {
		return 0, fmt.Errorf("%q has more than %d decimals", text, places)
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", places-len(frac)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return n, nil
}

func formatDecimal(n int64, places int) string {
	if n == math.MinInt64 {
		return strconv.FormatInt(n/int64(math.Pow10(places)), 10)
	}
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	unit := int64(math.Pow10(places))
	s := sign + strconv.FormatInt(n/unit, 10)
	if frac := n % unit; frac != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%0*d", places, frac), "0")
	}
	return s
}
