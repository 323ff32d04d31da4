"""
The zstd dictionary of chunks: what rows have in common, so that a chunk of a few rows is small too.

Made by ``benchmarks/train_dictionary.py`` from made-up rows. It is part of the layout: chunks written with one
dictionary can't be read with another.
"""

from __future__ import annotations

import base64

DICTIONARY = base64.b85decode(
    "H>5D^-!efQE)d9)Bpv_%|NsC0m!P6=(YK^E)LOF*{bt)IwjnURvZ}lLQc5Xhl4K}7cb^=S0ss&Ip;EyW5;Fh*1OR}GBPA0iAQTA?4+i8Cc}Nrs"
    "F%Sj-2nQhm&cdvuKmY&$004B8w4q3z!zha4KooS`000000000100004000080000qI5jLHZEs{{B04iOF*rCZB6VqGB04cJFfc44XK7?2Ix#RX"
    "Ff1Z&Y-w(5B04dBdo?vPIW;#qGAtr#Zf_zwG&3+VF*P|jEFx`hWMv{cGcz(UG%O-@X=EZgF)%PNEFx!VWFk5-FfcGIB5rJHZfhbsF?}q1B5q-A"
    "Wg<EvbaG*1YhN%hH!v<_Z)12OEFxoXZggdCbYFCNaAhJoB4%l9Wg;vhaA9<4B03@gFLZKYV{2b9FgGwRWN%}5A}k_vX?kTMIx;mjIWa6EZEs|0"
    "W@%+)Uvz10Wg<E;H8e3XH!v_cH!d|bFf}+hF)Siua%Ew3Wn^D;X>Da9Ix#ggF)}ncG%zzRF*7zdFf%nQB57`PWoL3}ba`KMb#riKV{{@qW?^h|"
    "Wh^3XbZKp6Uv6_EIx#ggF)=qVFgZ6hH83?eI599WEFxocX>Da+ZgV0!F*P(XGBi0fFf%bTHa9RcH8wIVB57`KB04lPFfuVVFflA5ZEs{{B04iO"
    "F*PzQB6VqGB04cJFfc44XK7?2Ix#RXFf1Z&Y-w(5B04dBdm?UOZDk@lB6DGFaBO8?FfcMVE_!KjA}k_fZ*FvDZggLCd2nSSIwEFiY-J)WB5+}J"
    "Xd*fy0WWi5ZE$R5UobE-H!gZ<a3U-sb7^{IB04fNIW;jgEFx`hWNBt;Wn^D;X>Da9Ix#jjF)=tdH90UYF)%VYFgQ3YB4cu8VRU6=Uvz10Wg<E;"
    "Ha0ObFgZ3eH!d(RH#9aeGb|!$Zggd5a%psVUvqVHaAjk3B06SaY;$ESB5ibOZDn6>b0Ru1Ha0OaI5#ypFflMPIWRalGdC<EV{~b4WnXS{B04cP"
    "HZd|VIW{vlFfcbXHZd|aF)Si!Zf_zwIWaUgG%O-*Z)9a6Ix{meHZd$Bb!lWGIxs9EXK7?2Ixs9EZft38Ya%)^eS0EqVQpn1IwE6eWn*h_Z)t9H"
    "EigASIWA}-EFxoXZggdCbYFCNaAhJoB6E3dY-w(5A}k_sVRUFBIwAotV`yb#YjAIAZged$H!?XcXd)~kb7^{IB04fQEFx`hWNBt;Wn^D;X>Da9"
    "Ix#deGdVaiHZ(adIWRRbHY_4za%Ew3Wn^D;X>Da9Ix#deG%z(bFfcJLFf%bXF*P(SB57`PWoL3}ba`KMb#riKV{{@qW?^h|Wh^3XbZKp6Uv6_E"
    "Ix#deGdVaiHZ(aoFf}nXIXN{jEFxocX>Da+ZgV0!F*GwYFf}$XFflMQF*h+aG%+zOB57`KB04oQF*!6bEFx`hWMv{cG%++cF)Si=X=EZgGcznA"
    "XK7?2Ix{mYB5rJHZfhbsF)Si<VRC0>bRs$;E-o)*a$#n4FJowBV{344X>N2aFgG$eE@&csEPEnuVQpn1IwE6lZf0p`EipGUH83?Ucx`MVEFxoX"
    "ZggdCbYFCNaAhJoB4%l9Wg;vhaA9<4B03@gFJo_RW@%?FF*h?cFf}fCZEPYeB6DeaWg<E;H!v|QB5iMEX=Z6<WM6b?ZDk@lF*GwXIW{;oGd3<W"
    "FgH0iGAtrva%Ew3Wn^D;X>Da9Ix#deG%z(bFfcJLFf%bYF*P+TB57`PWoL3}ba`KMb#riKV{{@qW?^h|Wh^3XbZKp6Uv6_EIx#deGdVUmH8VCd"
    "FgH0iGB7YXEFxocX>Da+ZgV0!F*GwYFf}$XFflMQF*q?bG%+zOB57`KB04oQF*!6cEFx`hWMv{cGcz$bI4mM{X=EZgFf1ZxX=EZgFf1Z&Y-w(5"
    "B04dBEPEnuVQpn1IwEapZgq5Jb1gA5GBq(GEFxoXZggdCbYFCNaAhJoB4%l9Wg;vhaA9<4B03@gFKuaVb#!HOEip4PH8CPAB6DeaWg<E=H#agg"
    "EFx`hWNBt;Wn^D;X>Da9Ix#deGdVagGc+?UH83|dGB7tRB4cu8VRU6=Uvz10Wg<E;G&3_fI50CbGcGkSH#IUaH!LD)Zggd5a%psVUvqVHaAjk3"
    "B06SaY;$ESB5ibOZDn6>b0Ru1G&3_fI50CbGc_<bH8L<ZGdL_FV{~b4WnXS{B04cNGc!3jFf%kWH83|dGB7qXI4mM*Zf_zwH8U|eG%ze8ZEs{{"
    "B04iOGB7kOB6VqGB04iOEFx!VWFk5<Gb|!*Y-w(5B04dBdm?UOZDk@lB4cP_aCBvIUpO-|Gczu2a5N$;B4clEbY*UIUvznJWg<EvW@&6?A}k_s"
    "VRUFBIwAotV`yP;bY*g1I5RRcGcIj#G$Je_b7^{IB04cQIWsvhEFx`hWNBt;Wn^D;X>Da9Ix#mfI5;vkH#avfG%+|cHZnOZB4cu8VRU6=Uvz10"
    "Wg<E;H!(OkH!wCdIW93cH#0aiHY_4(Zggd5a%psVUvqVHaAjk3B06SaY;$ESB5ibOZDn6>b0Ru1H!(OkGB!6iH#9LgGd40eG%ze8V{~b4WnXS{"
    "B04cQF*rCkFg7$fF*r9fI5agdFf1Zz"
)
